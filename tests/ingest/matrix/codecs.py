"""Further cases of transfer syntaxes: every codec, fragments, offset tables, odd bytes."""

import struct
from pathlib import Path

import numpy as np
from matrix import files
from matrix.case import Expectation, Wanted, case, of_grids, one, refused, wanted
from matrix.files import compress, encapsulated, pixels_of, save, save_all, save_compressed
from matrix.multiframe import enhanced, frames_of, truth
from matrix.phantom import SMALL, Grid, Sheet, small
from matrix.scored import unsigned
from matrix.values import retyped
from pydicom.encaps import encapsulate, encapsulate_extended, fragment_frame
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

DAMAGED = ("truncated", "decode_failed", "bad_element", "unsupported_pixels")
BIG = Grid(shape=(40, 56))


@case("JPEG lossless, process 14, selection value 6")
def jpeg_process_14(folder: Path) -> Expectation:
    save_compressed(sheets := small(), folder, files.LOSSLESS_P14)
    return one(sheets)


@case("HTJ2K lossless")
def htj2k(folder: Path) -> Expectation:
    save_compressed(sheets := small(grid=BIG), folder, files.HTJ2K_LOSSLESS)
    return one(sheets)


@case("HTJ2K lossless, unsigned 12 bit")
def htj2k_unsigned(folder: Path) -> Expectation:
    save_compressed(sheets := small(grid=BIG, dtype="<u2"), folder, files.HTJ2K_LOSSLESS)
    return one(sheets)


@case("JPEG-LS, 12 of 16 bits unsigned")
def jpegls_unsigned(folder: Path) -> Expectation:
    save_compressed(sheets := unsigned(8), folder, files.JPEGLS)
    return one(sheets)


@case("RLE, 8 bit")
def rle_eight(folder: Path) -> Expectation:
    save_compressed(sheets := retyped(small(), "<u1", -80.0), folder, RLELossless)
    return one(sheets)


@case("J2K, signed negative values")
def j2k_negative(folder: Path) -> Expectation:
    sheets = retyped(small(), "<i2", 300.0)
    save_compressed(sheets, folder, files.J2K_LOSSLESS)
    return one(sheets)


def lossy(folder: Path, sheets: list[Sheet], syntax: str, tolerance: float) -> Expectation:
    """Decoded, close, and flagged."""
    save_compressed(sheets, folder, syntax)
    return one(sheets, flags={"lossy"}, tolerance=tolerance)


@case("JPEG baseline, 8 bit")
def baseline(folder: Path) -> Expectation:
    return lossy(folder, retyped(small(grid=BIG), "<u1", -80.0), files.BASELINE, 6.0)


@case("JPEG extended, 12 bit")
def extended(folder: Path) -> Expectation:
    sheets = small(grid=BIG, dtype="<u2", BitsStored=12, HighBit=11)
    return lossy(folder, sheets, files.EXTENDED, 12.0)


@case("J2K lossy")
def j2k_lossy(folder: Path) -> Expectation:
    return lossy(folder, small(grid=BIG, dtype="<u2"), files.J2K, 12.0)


@case("HTJ2K lossy")
def htj2k_lossy(folder: Path) -> Expectation:
    return lossy(folder, small(grid=BIG, dtype="<u2"), files.HTJ2K, 12.0)


@case("JPEG-LS near-lossless")
def near_lossless(folder: Path) -> Expectation:
    return lossy(folder, small(dtype="<u2"), files.JPEGLS_NEAR, 3.2)


@case("lossy once, native now")
def once_lossy(folder: Path) -> Expectation:
    save_all(sheets := small(LossyImageCompression="01"), folder)
    return one(sheets, flags={"lossy"})


@case("mixed transfer syntaxes")
def mixed(folder: Path) -> Expectation:
    sheets, syntaxes = (
        small(),
        [ExplicitVRLittleEndian, RLELossless, files.JPEGLS, ImplicitVRLittleEndian],
    )
    for number, each in enumerate(sheets):
        syntax = syntaxes[number % 4]
        if syntax in (RLELossless, files.JPEGLS):
            compress(each.dataset, syntax)
        save(each.dataset, folder / f"{number}", syntax)
    return one(sheets)


@case("unknown transfer syntax")
def unknown(folder: Path) -> Expectation:
    sheets = small()
    for each in sheets:
        encapsulated(each.dataset, [b"\x01\x02\x03\x04" * 8])
    save_all(sheets, folder, syntax=files.JPEGLS)
    for path in folder.iterdir():
        path.write_bytes(
            path.read_bytes().replace(b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.99")
        )
    return refused("unsupported_transfer_syntax", 8)


@case("MPEG-4 video")
def video(folder: Path) -> Expectation:
    save_all(
        [_fragmented(small(1)[0], [b"\0\0\0\x18ftypmp42" * 4])],
        folder,
        syntax="1.2.840.10008.1.2.4.102",
    )
    return refused("unsupported_transfer_syntax", 1)


def _fragmented(each: Sheet, fragments: list[bytes]) -> Sheet:
    encapsulated(each.dataset, fragments)
    return each


def split_frame(each: Sheet, table: bytes) -> Sheet:
    """One JPEG-LS frame in three fragments behind an offset table of these bytes."""
    code = files.ENCODE[files.JPEGLS](np.ascontiguousarray(pixels_of(each.dataset)[0].view("<u2")))
    parts = [_item(part) for part in fragment_frame(code, 3)]
    each.dataset.PixelData = _item(table) + b"".join(parts) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    each.dataset["PixelData"].VR = "OB"
    each.dataset["PixelData"].is_undefined_length = True
    return each


def _item(data: bytes) -> bytes:
    data = data + b"\0" * (len(data) % 2)
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(data)) + data


@case("three fragments, empty offset table")
def fragments(folder: Path) -> Expectation:
    sheets = [split_frame(each, b"") for each in small()]
    save_all(sheets, folder, syntax=files.JPEGLS)
    return one(sheets)


@case("three fragments, wrong offset table")
def wrong_table(folder: Path) -> Expectation:
    sheets = [split_frame(each, struct.pack("<I", 4242)) for each in small()]
    save_all(sheets, folder, syntax=files.JPEGLS)
    return Expectation(one(sheets).volumes, instead=DAMAGED)


def many_frames(folder: Path, arrange: str, instead: tuple[str, ...] = ()) -> Expectation:
    """An enhanced image in JPEG-LS whose frames are found in a certain way."""
    frames = frames_of(8, grid=SMALL)
    dataset = enhanced(frames)
    pixels = pixels_of(dataset).view("<u2")
    codes = [files.ENCODE[files.JPEGLS](np.ascontiguousarray(frame)) for frame in pixels]
    if arrange == "extended":
        value, offsets, lengths = encapsulate_extended(codes)
        dataset.PixelData, dataset.ExtendedOffsetTable = value, offsets
        dataset.ExtendedOffsetTableLengths = lengths
    elif arrange == "wrong":
        value = encapsulate(codes, has_bot=True)
        offsets = struct.unpack("<8I", value[8:40])
        dataset.PixelData = value[:8] + struct.pack("<8I", *(o + 6 for o in offsets)) + value[40:]
    else:
        count = 1 if arrange == "one each" else 2
        dataset.PixelData = encapsulate(
            codes, fragments_per_frame=count, has_bot=arrange == "table"
        )
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    save(dataset, folder / "image", files.JPEGLS)
    return Expectation((of_grids(truth(dataset, frames)),), instead=instead)


@case("enhanced JPEG-LS, a fragment each, no offset table")
def fragment_each(folder: Path) -> Expectation:
    return many_frames(folder, "one each")


@case("enhanced JPEG-LS, two fragments each, offset table")
def fragments_with_table(folder: Path) -> Expectation:
    return many_frames(folder, "table")


@case("enhanced JPEG-LS, two fragments each, no offset table")
def fragments_without_table(folder: Path) -> Expectation:
    return many_frames(folder, "two each", DAMAGED)


@case("enhanced JPEG-LS, wrong offset table")
def frames_wrong_table(folder: Path) -> Expectation:
    return many_frames(folder, "wrong", DAMAGED)


@case("enhanced JPEG-LS, extended offset table")
def extended_table(folder: Path) -> Expectation:
    return many_frames(folder, "extended")


@case("enhanced RLE")
def enhanced_rle(folder: Path) -> Expectation:
    frames = frames_of(8, grid=SMALL)
    save(compress(dataset := enhanced(frames), RLELossless), folder / "image", RLELossless)
    return Expectation((of_grids(truth(dataset, frames)),))


def one_changed(folder: Path, sheets: list[Sheet], change: object, reason: str) -> Expectation:
    """One file of the series is damaged; the others keep their volume."""
    save_all(sheets, folder, seed=1)
    names = np.random.default_rng(1).permutation(len(sheets))
    path = folder / f"IM{names[3]:04d}"
    path.write_bytes(change(path.read_bytes()))
    about = {"flags": {"missing_slices"}, "maybe": {"files_quarantined"}}
    volume: Wanted = wanted(
        sheets[:3] + sheets[4:], len(sheets), observed=1 - 1 / len(sheets), **about
    )
    return Expectation((volume,), {reason: 1})


@case("undefined length in a native file")
def undefined_native(folder: Path) -> Expectation:
    def opened(data: bytes) -> bytes:
        at = data.rindex(b"\xe0\x7f\x10\x00OW")
        value = data[at + 12 :]
        items = _item(b"") + _item(value) + b"\xfe\xff\xdd\xe0\0\0\0\0"
        return data[: at + 8] + b"\xff\xff\xff\xff" + items

    return one_changed(folder, small(), opened, "|".join((*DAMAGED, "not_an_image")))


@case("cut inside the header")
def cut_header(folder: Path) -> Expectation:
    return one_changed(
        folder, small(), lambda data: data[:500], "truncated|not_an_image|bad_element"
    )


@case("cut by one byte")
def cut_byte(folder: Path) -> Expectation:
    return one_changed(folder, small(), lambda data: data[:-1], "truncated")


@case("bytes after the pixels")
def trailing(folder: Path) -> Expectation:
    sheets = small()
    for each in sheets:
        each.dataset.add_new(0xFFFCFFFC, "OB", bytes(64))
    save_all(sheets, folder)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes() + bytes(100))
    expected = one(sheets)
    return Expectation(expected.volumes, instead=("bad_element", "truncated"))


@case("more pixels than the header says")
def padded_pixels(folder: Path) -> Expectation:
    sheets = small()
    for each in sheets:
        each.dataset.PixelData += bytes(32)
    save_all(sheets, folder)
    return one(sheets)


@case("pixel length says too much")
def false_length(folder: Path) -> Expectation:
    def stretched(data: bytes) -> bytes:
        at = data.rindex(b"\xe0\x7f\x10\x00OW")
        return data[: at + 8] + struct.pack("<I", 1 << 28) + data[at + 12 :]

    return one_changed(folder, small(), stretched, "truncated|bad_element")


@case("preamble of another format")
def polyglot(folder: Path) -> Expectation:
    save_all(sheets := small(), folder)
    for path in folder.iterdir():
        path.write_bytes(b"II*\0\x08\0\0\0" + bytes(120) + path.read_bytes()[128:])
    return one(sheets)


@case("implicit VR with meta header")
def implicit(folder: Path) -> Expectation:
    save_all(sheets := small(), folder, syntax=ImplicitVRLittleEndian)
    return one(sheets)


@case("truncated JPEG-LS")
def cut_code(folder: Path) -> Expectation:
    sheets = small()
    for number, each in enumerate(sheets):
        compress(each.dataset, files.JPEGLS)
        if number == 3:
            _cut_frame(each)
    save_all(sheets, folder, syntax=files.JPEGLS)
    about = {"flags": {"missing_slices", "files_quarantined"}, "observed": 7 / 8}
    volume = wanted(sheets[:3] + sheets[4:], 8, **about)
    return Expectation((volume,), {"truncated|decode_failed": 1})


def _cut_frame(each: Sheet) -> None:
    pixels = np.full(each.grid.shape, 7, "<u2") + np.arange(each.grid.shape[1], dtype="<u2") ** 2
    code = files.ENCODE[files.JPEGLS](pixels)
    encapsulated(each.dataset, [code[: len(code) // 2]])


@case("JPEG-LS of another size than the header's")
def other_size(folder: Path) -> Expectation:
    sheets = small()
    for number, each in enumerate(sheets):
        compress(each.dataset, files.JPEGLS)
        if number == 3:
            encapsulated(each.dataset, [files.ENCODE[files.JPEGLS](np.ones((10, 12), "<u2"))])
    save_all(sheets, folder, syntax=files.JPEGLS)
    about = {"flags": {"missing_slices", "files_quarantined"}, "observed": 7 / 8}
    volume = wanted(sheets[:3] + sheets[4:], 8, **about)
    return Expectation((volume,), {"decode_failed|bad_element": 1})
