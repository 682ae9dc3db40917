"""Headers are found without pydicom, as pydicom finds them; lengths and nesting are checked."""

import struct

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.dicom.header import read_header
from medsynth.ingest.source import InputFile, form_of, walk

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
LIMIT = 1 << 26


def as_input(path):
    return InputFile(path, path.name, path.stat().st_size, 0)


def nested(**tags):
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return item


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("is_undefined", [False, True])
def test_values_and_sequences_are_read_in_every_encoding(kit, tmp_path, syntax, is_undefined):
    plane = kit.plane(kit.origin, PatientName="Müller^Jürgen", SpecificCharacterSet="ISO_IR 192")
    inner = nested(MREchoSequence=Items([nested(EffectiveEchoTime=12.5)]))
    plane.SharedFunctionalGroupsSequence = Items([inner, nested(Rows=7)])
    for sequence in (plane["SharedFunctionalGroupsSequence"], inner["MREchoSequence"]):
        sequence.is_undefined_length = is_undefined
    header = read_header(as_input(kit.save(plane, tmp_path / "x", syntax)), LIMIT)
    first, second = header.elements.items("SharedFunctionalGroupsSequence")
    assert header.syntax == syntax
    assert header.elements.text("PatientName") == "Müller^Jürgen"
    assert header.elements.numbers("Rows") == (12.0,)
    assert header.elements.numbers("ImagePositionPatient") == tuple(kit.origin)
    assert first.items("MREchoSequence")[0].numbers("EffectiveEchoTime") == (12.5,)
    assert second.numbers("Rows") == (7.0,)


def test_pixels_lie_where_the_header_says(kit, tmp_path):
    plane = kit.plane(kit.origin)
    path = kit.save(plane, tmp_path / "x")
    header = read_header(as_input(path), LIMIT)
    assert path.read_bytes()[header.start : header.start + header.length] == plane.PixelData


def test_a_header_longer_than_the_first_read_is_read_on(kit, tmp_path):
    plane = kit.plane(kit.origin, ImageComments="x" * 9000)
    plane.add_new(0x00291010, "OB", bytes(500_000))
    header = read_header(as_input(kit.save(plane, tmp_path / "x")), LIMIT)
    assert len(header.elements.raw(0x00291010)) == 500_000
    assert header.elements.numbers("Columns") == (10.0,)


def test_an_element_of_unknown_representation_holds_a_sequence(kit, tmp_path):
    path = kit.save(kit.plane(kit.origin), tmp_path / "x")
    head, item = b"\x10\x00\x01\x20UN\0\0\xff\xff\xff\xff", b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    inside = struct.pack("<HHI", 0x28, 0x10, 2) + b"\7\0"
    ends = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    data = path.read_bytes()
    at = data.index(b"\x20\x00\x0d\x00UI")
    path.write_bytes(data[:at] + head + item + inside + ends + data[at:])
    elements = read_header(as_input(path), LIMIT).elements
    assert [item.numbers("Rows") for item in elements.items(0x00102001)] == [(7.0,)]
    assert elements.numbers("Rows") == (12.0,)


def test_a_false_length_is_a_truncated_file(kit, tmp_path):
    path = kit.save(kit.plane(kit.origin), tmp_path / "x")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x10\x00\x20\x00LO")
    data[at + 6 : at + 8] = b"\xff\xff"
    path.write_bytes(data)
    with pytest.raises(UnreadableScan, match="truncated"):
        read_header(as_input(path), LIMIT)


def outcome(path):
    try:
        return "pixels" if read_header(as_input(path), LIMIT).pixel_tag else "no pixels"
    except UnreadableScan as error:
        return error.reason


def test_every_cut_of_a_file_ends_in_a_reason_or_without_pixels(kit, tmp_path):
    data = kit.save(kit.plane(kit.origin), tmp_path / "x").read_bytes()
    path, found = tmp_path / "cut", set()
    for size in range(132, len(data) - 240, 7):
        path.write_bytes(data[:size])
        found.add(outcome(path))
    assert found == {"truncated", "no pixels"}


def test_endless_headers_are_refused(kit, tmp_path):
    path = kit.save(kit.plane(kit.origin), tmp_path / "x")
    start = 132 + 12 + int.from_bytes(path.read_bytes()[140:144], "little")
    many = b"\x09\x00\x01\x00LO\x00\x00" * (1 << 22)
    path.write_bytes(path.read_bytes()[:start] + many)
    with pytest.raises(UnreadableScan, match="too_large"):
        read_header(as_input(path), LIMIT)


def test_real_headers_read_as_pydicom_reads_them(shared):
    names = ("Rows", "PixelSpacing", "ImagePositionPatient", "EchoTime", "InstanceNumber")
    compared = 0
    for file in walk(shared / "data/dicom"):
        if "/in/" in file.name and not file.name.endswith(("txt", "nii")):
            assert form_of(file) == "dicom"
            wanted = dcmread(file.path, stop_before_pixels=True)
            elements = read_header(file, LIMIT).elements
            for name in names:
                value = wanted.get(name)
                several = [] if value is None else value if hasattr(value, "__len__") else [value]
                assert elements.numbers(name) == tuple(float(number) for number in several)
                compared += len(several)
    assert compared > 500
