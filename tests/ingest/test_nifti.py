"""NIfTI: equal voxels and places whatever holds them, or a reason; headers are not believed."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from medsynth.core.digest import scan_digest
from medsynth.core.errors import UnreadableScan
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.files.nifti import read_header, read_volumes
from medsynth.ingest.files.nifti_config import NiftiConfig
from medsynth.ingest.source import InputFile

AFFINE = np.array([[0, -2.0, 0, 10], [1.5, 0, 0.2, -20], [0, 0.1, 3, 5], [0, 0, 0, 1]])
PLAIN = np.diag([1.5, 2.0, 3.0, 1.0])
FIELDS = nib.Nifti1Header.template_dtype.fields


def write(path, array, affine=AFFINE, unit="mm", kind=nib.Nifti1Image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = kind(array, affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def ramp(dtype=np.int16):
    return np.arange(5 * 6 * 7, dtype=dtype).reshape(5, 6, 7)


def patched(path, **fields):
    """The file with header fields as given; "pixdim3" is the fourth number of pixdim."""
    data = bytearray(path.read_bytes())
    for name, value in fields.items():
        index = int(name[-1]) if name[-1].isdigit() else 0
        dtype, offset = FIELDS[name.rstrip("0123456789")][:2]
        dtype = dtype.base
        new = np.asarray(value).astype(dtype).tobytes()
        start = offset + index * dtype.itemsize
        data[start : start + len(new)] = new
    path.write_bytes(data)
    return path


def read_one(path, **nifti):
    """(volumes, flags of the first) of one file without an ingest around it."""
    file, config = InputFile(path, path.name, path.stat().st_size, 0), IngestConfig(nifti=nifti)
    found = list(read_volumes(file, read_header(file, config), config))
    return [one.volume for one in found], found[0].flags


def refusal(path, **nifti):
    with pytest.raises(UnreadableScan) as caught:
        read_one(path, **nifti)
    return caught.value.reason


def test_voxels_move_with_their_places(read, tmp_path):
    write(tmp_path / "in/a.nii.gz", ramp())
    _, [(scan, volume)] = read(tmp_path / "in")
    where = {int(v): volume.geometry.affine @ [*i, 1] for i, v in np.ndenumerate(volume.array[0])}
    for index, value in np.ndenumerate(ramp()):
        assert np.allclose(where[int(value)], AFFINE @ [*index, 1], atol=1e-4)
    assert volume.geometry.is_ras
    assert scan.digest == scan_digest(volume.array[0], volume.geometry.affine)


def test_every_way_to_hold_an_image_gives_one_digest(read, tmp_path):
    write(tmp_path / "in/a.nii", ramp())
    write(tmp_path / "in/b.nii.gz", ramp())
    write(tmp_path / "in/c.nii", ramp(), kind=nib.Nifti2Image)
    write(tmp_path / "in/d.nii", ramp()[..., None, None])
    big = nib.Nifti1Image(ramp(), AFFINE, nib.Nifti1Header(endianness=">"), dtype=np.int16)
    nib.save(big, tmp_path / "in/e.nii")
    whole = (tmp_path / "in/a.nii").read_bytes()
    (tmp_path / "in/f.nii.gz").write_bytes(gzip.compress(whole[:400]) + gzip.compress(whole[400:]))
    _, scans = read(tmp_path / "in")
    assert (tmp_path / "in/e.nii").read_bytes()[:4] == (348).to_bytes(4, "big")
    assert len(scans) == 6
    assert len({scan.digest for scan, _ in scans}) == 1


@pytest.mark.parametrize(("unit", "per_mm"), [("micron", 1e3), ("meter", 1e-3)])
def test_units_become_millimetres(tmp_path, unit, per_mm):
    path = write(tmp_path / "a.nii", ramp(), AFFINE @ np.diag([per_mm] * 3 + [1.0]), unit=unit)
    [volume], _ = read_one(path)
    assert sorted(volume.geometry.spacing) == pytest.approx(sorted([1.5, 2.0025, 3.0067]), abs=1e-3)


def test_an_unknown_unit_is_taken_for_millimetres_and_flagged(tmp_path):
    assert read_one(write(tmp_path / "a.nii", ramp(), unit="unknown"))[1] == ("unit_assumed",)


@pytest.mark.parametrize("unit", ["unknown", "meter"])
def test_a_spacing_that_is_no_size_of_a_voxel_is_refused(tmp_path, unit):
    path = write(tmp_path / "a.nii", ramp(), np.diag([1500, 1500, 1500, 1.0]), unit=unit)
    assert refusal(path) == "bad_spacing"


def test_a_slope_gives_the_floats_that_nibabel_gives(tmp_path):
    path = patched(write(tmp_path / "a.nii", ramp(), PLAIN), scl_slope=0.3, scl_inter=10.7)
    [volume], _ = read_one(path)
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array[0], nib.load(path).get_fdata().astype(np.float32))


def test_whole_steps_of_whole_numbers_stay_whole(tmp_path):
    path = patched(write(tmp_path / "a.nii", ramp(), PLAIN), scl_slope=1, scl_inter=-1024)
    [volume], _ = read_one(path)
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array[0], ramp() - 1024)


@pytest.mark.parametrize(
    ("slope", "flags"), [(0, ()), (np.nan, ("slope_ignored",)), (np.inf, ("slope_ignored",))]
)
def test_a_slope_that_is_none_leaves_values_as_stored(tmp_path, slope, flags):
    path = patched(write(tmp_path / "a.nii", ramp(), PLAIN), scl_slope=slope, scl_inter=np.nan)
    [volume], found = read_one(path)
    assert found == flags
    assert np.array_equal(volume.array[0], ramp())


def test_voxels_that_are_no_numbers_are_counted_replaced_and_flagged(read, tmp_path):
    array = ramp(np.float32)
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    write(tmp_path / "in/a.nii", array)
    _, [(scan, volume)] = read(tmp_path / "in")
    assert "nonfinite_replaced" in scan.flags
    assert scan.provenance.acquisition["NumNonfiniteVoxels"] == 3
    assert volume.array.min() == 3


def test_the_share_of_voxels_that_may_be_no_numbers_is_configured(tmp_path):
    array = ramp(np.float32)
    array[0, 0, 0] = np.nan
    path = write(tmp_path / "a.nii", array)
    assert refusal(path, max_nonfinite=0.001) == "nonfinite"
    assert read_one(path, max_nonfinite=0.01)[1] == ("nonfinite_replaced",)


def test_integers_that_a_voxel_cannot_hold_exactly_are_flagged(tmp_path):
    large = nib.Nifti1Image(ramp().astype(np.int32) + (1 << 25), PLAIN, dtype=np.int32)
    nib.save(large, tmp_path / "a.nii")
    assert "precision_reduced" in read_one(tmp_path / "a.nii")[1]


def test_header_text_and_extensions_do_not_come_along(read, tmp_path):
    image = nib.Nifti1Image(ramp(), AFFINE)
    image.header["descrip"], image.header["db_name"] = b"Doe^Jane", b"MRN-12345678"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Doe^Jane was here"))
    (tmp_path / "in").mkdir()
    nib.save(image, tmp_path / "in/a.nii")
    _, [(_, volume)] = read(tmp_path / "in")
    assert (tmp_path / "in/a.nii").read_bytes().count(b"Doe^Jane") == 2
    assert sorted(volume.array.ravel()) == list(range(210))
    written = [p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert not any(b"Doe" in data for data in written)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: write(p, np.zeros((4, 4, 4, 3), np.int16)), "multi_volume"),
        (lambda p: write(p, np.zeros((4, 4, 4, 1, 3), np.float32)), "vector_data"),
        (lambda p: write(p, np.zeros((4, 4, 4), np.complex64)), "complex"),
        (lambda p: write(p, np.zeros((4, 4, 4), [(c, "u1") for c in "RGB"])), "color"),
        (lambda p: write(p, np.full((4, 4, 4), np.nan, np.float32)), "nonfinite"),
        (lambda p: write(p, ramp(), None), "no_geometry"),
        (lambda p: patched(write(p, ramp()), srow_x=np.nan), "no_geometry"),
        (lambda p: patched(write(p, ramp(), PLAIN), srow_x=[0, 0, 0, 0]), "bad_spacing"),
        (lambda p: patched(write(p, ramp(), PLAIN), pixdim2=0), "bad_spacing"),
        (lambda p: patched(write(p, ramp(), PLAIN), pixdim2=-2), "bad_spacing"),
        (lambda p: patched(write(p, ramp()), scl_slope=2, scl_inter=np.inf), "bad_element"),
        (lambda p: patched(write(p, ramp()), vox_offset=100), "bad_element"),
        (lambda p: patched(write(p, ramp()), vox_offset=np.nan), "bad_element"),
        (lambda p: patched(write(p, ramp()), datatype=999), "unsupported_pixels"),
        (lambda p: patched(write(p, ramp()), dim1=0), "empty"),
        (lambda p: patched(write(p, ramp()), dim1=-5), "bad_element"),
        (lambda p: patched(write(p, ramp()), dim1=32000), "truncated"),
        (lambda p: patched(write(p, ramp()), dim1=[32000] * 3), "too_large"),
        (lambda p: p.write_bytes(write(p, ramp()).read_bytes()[:-50]), "truncated"),
        (lambda p: p.write_bytes(write(p, ramp()).read_bytes()[:352]), "truncated"),
        (lambda p: p.write_bytes(b""), "empty"),
    ],
)
def test_what_is_no_volume_is_refused_by_name(read, tmp_path, make, reason):
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / "a.nii")
    assert read(tmp_path / "in") == ({reason: 1}, [])


def test_other_formats_are_refused_by_name(read, shared):
    refused, scans = read(shared / "data/broken/nifti")
    assert not refused.keys() - {
        "analyze", "mgh", "nifti_pair", "not_an_image", "multi_volume", "truncated", "no_geometry"
    }  # fmt: skip
    assert {"analyze", "mgh", "nifti_pair"} <= refused.keys()
    assert len(scans) <= 2


def test_a_broken_gzip_gives_no_volume(tmp_path):
    whole = write(tmp_path / "a.nii", ramp(), PLAIN).read_bytes()
    packed = gzip.compress(whole)
    flipped = bytearray(packed)
    flipped[-6] ^= 1
    reasons = []
    for data in (packed[:-40], packed[:-3], bytes(flipped)):
        (tmp_path / "b.nii.gz").write_bytes(data)
        reasons.append(refusal(tmp_path / "b.nii.gz"))
    assert reasons == ["truncated", "truncated", "decode_failed"]


def test_bytes_behind_the_image_are_flagged_and_many_are_refused(tmp_path):
    whole = write(tmp_path / "a.nii", ramp(), PLAIN).read_bytes()
    for data in (whole + b"x", gzip.compress(whole) + b"garbage", gzip.compress(whole + b"x")):
        (tmp_path / "b.nii").write_bytes(data)
        assert read_one(tmp_path / "b.nii")[1] == ("trailing_data",)
    (tmp_path / "b.nii").write_bytes(gzip.compress(whole) + bytes(100))
    assert read_one(tmp_path / "b.nii")[1] == ()
    (tmp_path / "b.nii").write_bytes(gzip.compress(whole + bytes(1 << 20)))
    assert refusal(tmp_path / "b.nii") == "trailing_data"


def test_a_bomb_costs_no_more_than_the_image_that_it_claims_to_be(tmp_path):
    whole = write(tmp_path / "a.nii", ramp(), PLAIN).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(whole + bytes(1 << 26), 1))
    assert refusal(tmp_path / "b.nii.gz") == "trailing_data"
    claims = patched(tmp_path / "a.nii", dim1=[500] * 3).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(claims))
    assert refusal(tmp_path / "b.nii.gz") == "truncated"


def conflicting(path, shift=0.0, turn=False):
    image = nib.Nifti1Image(ramp(), None)
    image.set_sform(PLAIN, 1)
    qform = PLAIN @ np.diag([-1.0, 1, 1, 1]) if turn else PLAIN.copy()
    qform[0, 3] += shift
    image.set_qform(qform, 1)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def test_qform_and_sform_a_little_apart_are_flagged_and_far_apart_refused(tmp_path):
    assert read_one(conflicting(tmp_path / "a.nii"))[1] == ()
    [volume], flags = read_one(conflicting(tmp_path / "a.nii", 0.5))
    assert flags == ("affines_differ",)
    assert np.allclose(volume.geometry.affine, PLAIN)
    assert refusal(conflicting(tmp_path / "a.nii", 5.0)) == "affine_conflict"
    assert refusal(conflicting(tmp_path / "a.nii", turn=True)) == "affine_conflict"


def test_which_of_two_affines_counts_is_configured(tmp_path):
    path = conflicting(tmp_path / "a.nii", 5.0)
    for rule, origin in (("sform", 0.0), ("qform", 5.0)):
        [volume], flags = read_one(path, conflict=rule)
        assert flags == ("affines_differ",)
        assert volume.geometry.affine[0, 3] == origin


@pytest.mark.parametrize("handed", [1.0, -1.0])
def test_a_qform_alone_leads_where_nibabel_says(tmp_path, rng, handed):
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned *= np.sign(np.linalg.det(turned)) * handed
    affine = np.eye(4)
    affine[:3] = np.hstack([turned * [1.5, 2.0, 3.0], [[5.0], [-7.0], [9.0]]])
    image = nib.Nifti1Image(ramp(), None)
    image.set_qform(affine, 1)
    image.set_sform(None, 0)
    image.header.set_xyzt_units("mm")
    nib.save(image, tmp_path / "a.nii")
    [volume], flags = read_one(tmp_path / "a.nii")
    wanted = nib.as_closest_canonical(nib.load(tmp_path / "a.nii"))
    assert flags == ()
    assert np.allclose(volume.geometry.affine, wanted.affine, atol=1e-4)
    assert np.array_equal(volume.array[0], np.asarray(wanted.dataobj))


def test_no_affine_at_all_may_be_assumed_and_is_flagged(tmp_path):
    path = patched(write(tmp_path / "a.nii", ramp(), None), pixdim1=[1.5, 2.0, 3.0])
    assert refusal(path) == "no_geometry"
    [volume], flags = read_one(path, no_affine="assume")
    assert "orientation_assumed" in flags
    assert volume.geometry.spacing == (1.5, 2.0, 3.0)


def four(path, count=3):
    times = 1000 * np.arange(count, dtype=np.int16)
    return write(path, ramp()[..., None] + times, PLAIN)


def test_a_file_of_several_volumes_is_split_chosen_from_or_refused(tmp_path):
    path = four(tmp_path / "a.nii.gz")
    assert refusal(path) == "multi_volume"
    volumes, flags = read_one(path, volumes="split")
    assert ([int(v.array.min()) for v in volumes], flags) == ([0, 1000, 2000], ())
    for rule, value in (("first", 0), (1, 1000)):
        [volume], flags = read_one(path, volumes=rule)
        assert (int(volume.array.min()), flags) == (value, ("volume_chosen",))
    assert refusal(path, volumes=3) == "no_such_volume"


def test_volumes_of_one_file_have_names_and_times_of_their_own(read, tmp_path):
    four(tmp_path / "in/a.nii.gz")
    config = IngestConfig(min_matrix=1, nifti=NiftiConfig(volumes="split"))
    _, scans = read(tmp_path / "in", config)
    assert len({scan.scan_id for scan, _ in scans}) == 3
    times = [scan.provenance.acquisition["TemporalPositionIndex"] for scan, _ in scans]
    assert times == [1, 2, 3]


def test_a_file_that_breaks_in_its_last_volume_gives_none(read, tmp_path):
    path = four(tmp_path / "in/a.nii.gz")
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    config = IngestConfig(nifti=NiftiConfig(volumes="split"))
    assert read(tmp_path / "in", config) == ({"decode_failed": 1}, [])
