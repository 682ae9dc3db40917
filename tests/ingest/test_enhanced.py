"""Multi-frame images: every frame by its own functional groups, every kind of image by itself."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag

MR, CT = "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.2.1"
LEVEL = 1.2


def item(**tags):
    dataset = Dataset()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def enhanced(kit, frames, kind=MR, **tags):
    """One file of these (plane, groups of its own) pairs; spacing is shared."""
    planes = [plane for plane, _ in frames]
    whole = planes[0]
    whole.SOPClassUID, whole.Modality = kind, "MR" if kind == MR else "CT"
    whole.PixelData = b"".join(plane.PixelData for plane in planes)
    whole.NumberOfFrames = len(frames)
    spacing = item(PixelSpacing=whole.PixelSpacing)
    whole.SharedFunctionalGroupsSequence = Items([item(PixelMeasuresSequence=Items([spacing]))])
    whole.PerFrameFunctionalGroupsSequence = Items([groups_of(*frame) for frame in frames])
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(whole, name)
    del whole.RescaleSlope, whole.RescaleIntercept
    for name, value in tags.items():
        setattr(whole, name, value)
    return whole


def groups_of(plane, own):
    rescale = item(RescaleSlope=plane.RescaleSlope, RescaleIntercept=plane.RescaleIntercept)
    groups = {
        "PlanePositionSequence": item(ImagePositionPatient=plane.ImagePositionPatient),
        "PlaneOrientationSequence": item(ImageOrientationPatient=plane.ImageOrientationPatient),
        "PixelValueTransformationSequence": rescale,
    }
    return item(**{name: Items([group]) for name, group in {**groups, **own}.items()})


def stack(kit, count=4, own=(), **options):
    planes = [kit.plane(kit.at(0, 0, 2 * k), **options) for k in range(count)]
    return [(plane, dict(own)) for plane in planes]


def in_place(kit, scans, constants):
    assert len(scans) == len(constants)
    for (_, volume), constant in zip(scans, constants, strict=True):
        assert kit.worst_error(volume, constant) <= LEVEL


def test_every_frame_has_its_own_place_and_rescale(kit, read, tmp_path):
    frames = [
        (kit.plane(kit.at(0, 0, 2 * k), slope=0.5 + k / 4, intercept=-10.0 * k), {})
        for k in (2, 0, 3, 1)
    ]
    kit.save(enhanced(kit, frames, CT), tmp_path / "in" / "x")
    quarantine, scans = read(tmp_path / "in")
    assert quarantine == {}
    in_place(kit, scans, [0.0])


@pytest.mark.parametrize("told_by", ["echo", "time", "frame type", "component", "stack"])
def test_kinds_of_image_in_one_file_part(kit, read, tmp_path, told_by):
    def groups(number):
        content = item(InStackPositionNumber=1)
        kind = item(FrameType=["ORIGINAL", "PRIMARY", "M", "NONE"])
        if told_by == "time":
            content.TemporalPositionIndex = number
        if told_by == "stack":
            content.StackID = str(number)
        if told_by == "frame type":
            kind.FrameType = ["ORIGINAL", "PRIMARY", "M" if number == 1 else "P", "NONE"]
        if told_by == "component":
            kind.ComplexImageComponent = "MAGNITUDE" if number == 1 else "PHASE"
        echo = item(EffectiveEchoTime=5.0 * number if told_by == "echo" else 5.0)
        return {
            "FrameContentSequence": content,
            "MRImageFrameTypeSequence": kind,
            "MREchoSequence": echo,
        }

    halves = [stack(kit, own=groups(n), constant=1000.0 * n) for n in (1, 2)]
    frames = [frame for pair in zip(*halves, strict=True) for frame in pair]
    kit.save(enhanced(kit, frames), tmp_path / "in" / "x")
    quarantine, scans = read(tmp_path / "in")
    assert quarantine == {}
    in_place(kit, scans, [1000.0, 2000.0])
    assert len({scan.scan_id for scan, _ in scans}) == 2


def test_a_dimension_that_is_no_place_tells_volumes_apart(kit, read, tmp_path):
    pointers = Items([item(DimensionIndexPointer=Tag(t)) for t in (0x00209057, 0x00189087)])
    halves = []
    for number in (1, 2):
        frames = stack(kit, constant=1000.0 * number)
        for place, (_, own) in enumerate(frames):
            own["FrameContentSequence"] = item(DimensionIndexValues=[place + 1, number])
        halves += frames
    kit.save(enhanced(kit, halves, DimensionIndexSequence=pointers), tmp_path / "in" / "x")
    quarantine, scans = read(tmp_path / "in")
    assert quarantine == {}
    in_place(kit, scans, [1000.0, 2000.0])


def test_frames_that_nothing_tells_apart_are_refused(kit, read, tmp_path):
    frames = stack(kit, constant=1000.0) + stack(kit, constant=2000.0)
    kit.save(enhanced(kit, frames), tmp_path / "in" / "x")
    assert read(tmp_path / "in") == ({"duplicate_conflict": 1}, [])


def test_one_file_for_each_time_becomes_volumes_in_time_order(kit, read, tmp_path):
    for name, number in zip("cab", (1, 2, 3), strict=True):
        content = item(FrameAcquisitionDateTime=f"2020010210000{number}.5")
        frames = stack(kit, own={"FrameContentSequence": content}, constant=1000.0 * number)
        kit.save(enhanced(kit, frames, InstanceNumber=1), tmp_path / "in" / name)
    quarantine, scans = read(tmp_path / "in")
    assert quarantine == {}
    in_place(kit, scans, [1000.0, 2000.0, 3000.0])
    times = [scan.provenance.acquisition["TemporalPositionIndex"] for scan, _ in scans]
    assert times == [1, 2, 3]


def test_a_diffusion_direction_of_a_frame_is_kept(kit, read, tmp_path):
    frames = []
    for number, direction in enumerate([None, (1.0, 0.0, 0.0), (0.0, 0.6, 0.8)]):
        group = item(DiffusionBValue=800.0 if direction else 0.0)
        if direction:
            inner = item(DiffusionGradientOrientation=list(direction))
            group.DiffusionGradientDirectionSequence = Items([inner])
        own = {"MRDiffusionSequence": group}
        frames += stack(kit, own=own, constant=1000.0 * (number + 1))
    kit.save(enhanced(kit, frames), tmp_path / "in" / "x")
    _, scans = read(tmp_path / "in")
    in_place(kit, scans, [1000.0, 2000.0, 3000.0])
    found = [scan.provenance.acquisition for scan, _ in scans]
    assert [about["DiffusionBValue"] for about in found] == [0, 800, 800]
    assert np.allclose(found[2]["DiffusionGradientOrientation"], [0, 0.6, 0.8])


@pytest.mark.parametrize("drop", ["groups", "position", "all"])
def test_frames_without_a_place_are_refused(kit, read, tmp_path, drop):
    whole = enhanced(kit, stack(kit))
    if drop == "groups":
        del whole.PerFrameFunctionalGroupsSequence[2]
    if drop == "position":
        del whole.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    if drop == "all":
        del whole.PerFrameFunctionalGroupsSequence, whole.SharedFunctionalGroupsSequence
    kit.save(whole, tmp_path / "in" / "x")
    reason = "no_geometry" if drop == "position" else "multi_frame"
    assert read(tmp_path / "in") == ({reason: 1}, [])


def test_a_truncated_multi_frame_file_is_one_quarantined_file(kit, read, tmp_path):
    path = kit.save(enhanced(kit, stack(kit)), tmp_path / "in" / "x")
    path.write_bytes(path.read_bytes()[:-100])
    assert read(tmp_path / "in") == ({"truncated": 1}, [])
