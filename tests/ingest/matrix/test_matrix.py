"""Every case of the matrix is right, right with its flags, or refused by name."""

import numpy as np
import pytest
from matrix.every import CASES
from matrix.judge import Found, complaints, lps_points

from medsynth.core.keys import DEMO_KEYS


def keyed(uid):
    return f"sop-{DEMO_KEYS.digest('sop', uid)[:24]}"


def found(scan, volume):
    about = scan.provenance
    return Found(
        array=volume.array[0],
        affine=volume.geometry.affine,
        flags=scan.flags,
        observed=about.observed,
        sources=about.plane_sources,
        axis=about.plane_axis,
        acquisition=about.acquisition,
    )


@pytest.mark.parametrize("each", CASES, ids=lambda each: each.name)
def test_a_case_is_right_or_refused(each, read, written):
    folder, expected = written(each)
    quarantine, scans = read(folder)
    said = complaints(expected, [found(*pair) for pair in scans], quarantine, keyed)
    assert not said, "; ".join(said)
    assert all(volume.geometry.is_ras for _, volume in scans)


CURVED = [each for each in CASES if each.name.startswith("curved")]


@pytest.mark.parametrize("each", CURVED, ids=lambda each: each.name)
def test_interpolation_touches_no_observed_plane(each, read, written):
    folder, expected = written(each)
    _, [(scan, volume)] = read(folder)
    one = found(scan, volume)
    error = np.abs(one.array - expected.volumes[0].value(lps_points(one)))
    worst = np.moveaxis(error, one.axis, 0).max(axis=(1, 2))
    seen = np.array(["+" not in names for names in one.sources])
    assert worst[seen].max() <= 0.51  # rounding
    assert worst[~seen].max() > 1.2  # the curve is steep enough to show interpolation


def test_the_matrix_has_the_scored_45_and_as_many_again():
    assert sorted(c.name[:2] for c in CASES if c.is_scored) == [f"{n:02d}" for n in range(1, 46)]
    assert len(CASES) >= 90
