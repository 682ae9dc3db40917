"""Planes that repeat at one place become volumes where something parts them, else stay together."""

import numpy as np
import pytest

LEVEL = 1.2


def repeats(kit, count=3, planes=6, **tags):
    """`count` stacks at one place, told apart by nothing but their values."""
    stacks = [kit.series(planes, constant=1000.0 * (n + 1), **tags) for n in range(count)]
    for stack in stacks:
        for plane in stack:
            plane.Modality = "MR"
            del plane.InstanceNumber
    return stacks


def flat(stacks):
    return [plane for stack in stacks for plane in stack]


def in_time(kit, scans, count=3):
    assert len(scans) == count
    for number, (scan, volume) in enumerate(scans):
        assert kit.worst_error(volume, 1000.0 * (number + 1)) <= LEVEL
        assert scan.provenance.acquisition["TemporalPositionIndex"] == number + 1


def number_all(stacks, order):
    """InstanceNumber volume by volume or place by place."""
    for n, stack in enumerate(stacks):
        for k, plane in enumerate(stack):
            by_volume = n * len(stack) + k
            plane.InstanceNumber = 1 + (by_volume if order == "volume" else k * len(stacks) + n)


@pytest.mark.parametrize("order", ["volume", "place"])
def test_instance_numbers_part_repeats_in_either_order(kit, read, tmp_path, order):
    stacks = repeats(kit)
    number_all(stacks, order)
    quarantine, scans = read(kit.save_all(flat(stacks), tmp_path / "in"))
    assert quarantine == {}
    in_time(kit, scans)


@pytest.mark.parametrize(
    "tag", ["AcquisitionNumber", "TriggerTime", "AcquisitionTime", "ContentTime"]
)
def test_times_and_numbers_part_repeats(kit, read, tmp_path, tag):
    stacks = repeats(kit)
    for number, stack in enumerate(stacks):
        text = f"09000{number}.25" if tag.endswith(("nTime", "tTime")) else str(number + 1)
        for plane in stack:
            setattr(plane, tag, text)
    quarantine, scans = read(kit.save_all(flat(stacks), tmp_path / "in"))
    assert quarantine == {}
    in_time(kit, scans)


def test_times_that_pass_midnight_stay_in_order(kit, read, tmp_path):
    stacks = repeats(kit, 2)
    for stack, day, time in zip(
        stacks, ("20200101", "20200102"), ("235959", "000001"), strict=True
    ):
        for plane in stack:
            plane.AcquisitionDate, plane.AcquisitionTime = day, time
    _, scans = read(kit.save_all(flat(stacks), tmp_path / "in"))
    in_time(kit, scans, 2)


def test_a_missing_file_of_one_time_spoils_no_other(kit, read, tmp_path):
    stacks = repeats(kit)
    number_all(stacks, "volume")
    del stacks[1][2]
    quarantine, scans = read(kit.save_all(flat(stacks), tmp_path / "in"))
    assert quarantine == {}
    in_time(kit, scans)
    assert ["missing_slices" in scan.flags for scan, _ in scans] == [False, True, False]


@pytest.mark.parametrize("numbers", ["none", "mixed", "same"])
def test_repeats_that_nothing_parts_are_refused(kit, read, tmp_path, numbers):
    stacks = repeats(kit)
    planes = flat(stacks)
    shuffled = np.random.default_rng(3).permutation(len(planes)) + 1
    for plane, number in zip(planes, shuffled, strict=True):
        if numbers != "none":
            plane.InstanceNumber = int(number) if numbers == "mixed" else 1
    assert read(kit.save_all(planes, tmp_path / "in")) == ({"duplicate_conflict": len(planes)}, [])


def test_slices_sent_again_under_new_names_are_no_second_volume(kit, read, tmp_path):
    planes, again = kit.series(), kit.series()[2:4]
    for number, plane in enumerate(again):
        plane.InstanceNumber, plane.AcquisitionNumber = 90 + number, 7
    quarantine, [(scan, volume)] = read(kit.save_all([*planes, *again], tmp_path / "in"))
    assert quarantine == {"duplicate": 2}
    assert kit.worst_error(volume) <= LEVEL
    assert scan.flags == ("duplicates_dropped",)


def test_two_series_that_share_a_uid_are_two_volumes(kit, read, tmp_path):
    first, second = kit.series(constant=1000.0), kit.series(constant=2000.0)
    for number, stack in enumerate((first, second)):
        for plane in stack:
            plane.SeriesNumber = number + 1
    quarantine, scans = read(kit.save_all([*first, *second], tmp_path / "in"))
    assert quarantine == {}
    assert [kit.worst_error(v, 1000.0 * (n + 1)) <= LEVEL for n, (_, v) in enumerate(scans)] == [
        1,
        1,
    ]


def test_the_physics_of_a_volume_are_numbers_under_known_names(kit, read, tmp_path):
    tags = {"EchoTime": "12.5", "FlipAngle": "30", "MagneticFieldStrength": "3", "Units": "BQML"}
    planes = kit.series(Modality="MR", ProtocolName="Doe Jane", **tags)
    for number, plane in enumerate(planes):
        plane.TriggerTime = str(number)
    _, [(scan, _)] = read(kit.save_all(planes, tmp_path / "in"))
    assert dict(scan.provenance.acquisition) == {
        "EchoTime": 12.5,
        "FlipAngle": 30.0,
        "MagneticFieldStrength": 3.0,
        "Units": "BQML",
    }
