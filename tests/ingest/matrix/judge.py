"""The judge: a volume is right where its voxels lie where they say they lie.

`complaints` judges our own output in full; `verdict` puts any reader's volumes into one word.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matrix.case import Expectation, Wanted

REPAIRS = frozenset(
    {
        "detector_plane",
        "duplicates_dropped",
        "files_quarantined",
        "lossy",
        "missing_slices",
        "monochrome1",
        "nonfinite_replaced",
        "sheared",
        "single_slice",
        "spacing_assumed",
        "unit_assumed",
        "variable_spacing",
    }
)
"""Flags that must stand on a volume exactly where it needs them."""
NEAR = 0.06  # mm between a plane and its source: 0.02 x step + 0.01 mm of the line


@dataclass(frozen=True, eq=False)
class Found:
    """A volume (i, j, k) that a reader made, its RAS+ affine, and what only ours says of it."""

    array: np.ndarray
    affine: np.ndarray
    flags: tuple[str, ...] = ()
    observed: float = 1.0
    sources: tuple[str, ...] = ()
    axis: int = 2
    acquisition: Mapping[str, Any] = field(default_factory=dict)


def lps_points(found: Found) -> np.ndarray:
    """LPS mm of every voxel, (i, j, k, 3)."""
    indices = np.moveaxis(np.indices(found.array.shape), 0, -1)
    ras = indices @ found.affine[:3, :3].T + found.affine[:3, 3]
    return ras * np.array([-1.0, -1.0, 1.0])


def worst_error(found: Found, want: Wanted) -> float:
    """How far any voxel is from what its place in the patient says."""
    if found.array.ndim != 3:
        return float("inf")
    truth = want.value(lps_points(found)) + want.constant
    error = np.abs(found.array.astype(float) - truth)
    return float(error.max()) if np.isfinite(error).all() else float("inf")


def misplaced(found: Found, want: Wanted) -> float:
    """Distance in mm between the middle of the volume and the middle of its images."""
    ends = lps_points(found).reshape(-1, 3)[[0, -1]]
    centers = np.array([center for _, center in want.frames])
    middle = (centers.min(axis=0) + centers.max(axis=0)) / 2
    return float(np.linalg.norm(ends.mean(axis=0) - middle))


def assign(founds: Sequence[Found], wants: Sequence[Wanted]) -> list[tuple[Found, Wanted | None]]:
    """Each volume with the wanted one that it is closest to, none used twice."""
    pairs = sorted(
        (max(worst_error(f, w) - w.tolerance, 0.0) + misplaced(f, w), i, j)
        for i, f in enumerate(founds)
        for j, w in enumerate(wants)
    )
    taken: dict[int, int] = {}
    for _, i, j in pairs:
        if i not in taken and j not in taken.values():
            taken[i] = j
    return [(f, wants[taken[i]] if i in taken else None) for i, f in enumerate(founds)]


def complaints(
    expected: Expectation,
    founds: Sequence[Found],
    refused: Mapping[str, int],
    key: Callable[[str], str],
) -> list[str]:
    """What is wrong with our output; `key` turns a SOP instance into its keyed name."""
    if expected.instead and not founds:
        strange = set(refused) - set(expected.instead)
        return [f"refused for {sorted(strange)}"] if strange or not refused else []
    found: list[str] = []
    if len(founds) != len(expected.volumes):
        found.append(f"{len(founds)} volumes, not {len(expected.volumes)}")
    found += _refusals(expected.refused, refused)
    for volume, want in assign(founds, expected.volumes):
        found += ["a volume too many"] if want is None else _of_volume(volume, want, key)
    return found


def _refusals(wanted: Mapping[str, int], refused: Mapping[str, int]) -> list[str]:
    left = dict(refused)
    for reasons, count in wanted.items():
        if sum(left.pop(reason, 0) for reason in reasons.split("|")) != count:
            return [f"refused {dict(refused)}, not {dict(wanted)}"]
    return [f"refused {dict(refused)}, not {dict(wanted)}"] if left else []


def _of_volume(found: Found, want: Wanted, key: Callable[[str], str]) -> list[str]:
    said = []
    error = worst_error(found, want)
    if error > want.tolerance:
        said.append(f"wrong by {error:.1f}")
    if error <= want.tolerance and misplaced(found, want) > NEAR:
        said.append("does not span the images it was made of")
    planes = found.array.shape[found.axis]
    if not want.planes[0] <= planes <= want.planes[1]:
        said.append(f"{planes} planes, not {want.planes}")
    flags = {flag.split(":")[0] for flag in found.flags} & REPAIRS
    if not want.flags <= flags <= want.flags | want.maybe:
        said.append(f"flags {sorted(flags)}, not {sorted(want.flags)}")
    if not want.observed[0] - 1e-6 <= found.observed <= want.observed[1] + 1e-6:
        said.append(f"observed {found.observed:.3f}, not {want.observed}")
    return said + _of_sources(found, want, key) + _of_acquisition(found, want)


def _of_acquisition(found: Found, want: Wanted) -> list[str]:
    said = []
    for name, value in want.acquisition.items():
        got = found.acquisition.get(name)
        same = got == value if isinstance(value, str) or got is None else _close(got, value)
        if not same:
            said.append(f"{name} is {got}, not {value}")
    return said


def _close(got: Any, value: Any) -> bool:
    one, other = np.atleast_1d(got), np.atleast_1d(value)
    return one.shape == other.shape and bool(np.allclose(one, other, atol=2e-3, rtol=1e-4))


def _of_sources(found: Found, want: Wanted, key: Callable[[str], str]) -> list[str]:
    planes = found.array.shape[found.axis]
    if len(found.sources) != planes:
        return [f"{len(found.sources)} plane sources for {planes} planes"]
    middles = np.moveaxis(lps_points(found), found.axis, 0).mean(axis=(1, 2))
    centers: dict[str, list[np.ndarray]] = {}
    for uid, center in want.frames:
        centers.setdefault(key(uid), []).append(np.array(center))
    bad = [
        k
        for k, (names, middle) in enumerate(zip(found.sources, middles, strict=True))
        if not _is_from(names.split("+"), middle, centers)
    ]
    said = [f"planes {bad} have the wrong source"] if bad else []
    seen = sum("+" not in names for names in found.sources) / planes
    if abs(seen - found.observed) > 1e-6:
        said.append(f"observed {found.observed:.3f}, but {seen:.3f} of the planes have one source")
    return said


def _is_from(names: list[str], middle: np.ndarray, centers: dict[str, list[np.ndarray]]) -> bool:
    """Whether a plane lies on its one source, or between its two."""
    if any(name not in centers for name in names):
        return False
    if len(names) == 1:
        return any(np.abs(center - middle).max() <= NEAR for center in centers[names[0]])
    pairs = itertools.product(centers[names[0]], centers[names[1]])
    return len(names) == 2 and any(_is_between(middle, a, b) for a, b in pairs)


def _is_between(point: np.ndarray, a: np.ndarray, b: np.ndarray) -> bool:
    length = float(np.linalg.norm(b - a))
    detour = float(np.linalg.norm(point - a) + np.linalg.norm(point - b)) - length
    return length > 0 and detour < NEAR


@dataclass(frozen=True)
class Verdict:
    """One reader on one case: a word, and the worst error of a wrong volume."""

    word: str
    worst: float = 0.0

    @property
    def label(self) -> str:
        """As the table prints it."""
        return f"{self.word} {self.worst:.0f}" if 0 < self.worst < float("inf") else self.word


def verdict(expected: Expectation, founds: Sequence[Found], refused: bool) -> Verdict:
    """One word for what a reader made of a case.

    right; partial (volumes are lost); double (a right volume twice or in parts); wrong; or
    right+wrong, side by side. Without a volume: refused (it said no, or names a reason) or
    nothing; both are right where no volume is. read: a volume where we make none by choice.
    A volume is right if its voxels are; flags and sources are ours alone and judged elsewhere.
    """
    left, right, spare, wrong = list(expected.volumes), 0, 0, []
    for found in founds:
        fitting = [want for want in left if worst_error(found, want) <= want.tolerance]
        errors = [worst_error(found, want) - want.tolerance for want in expected.volumes]
        if fitting:
            left.remove(fitting[0])
            right += 1
        elif min(errors, default=1.0) <= 0:
            spare += 1
        else:
            wrong.append(
                min((worst_error(found, want) for want in expected.volumes), default=np.inf)
            )
    if wrong:
        word = "right+wrong" if right and not left else "wrong"
        return Verdict("read") if expected.by_choice else Verdict(word, max(wrong))
    if not right:
        may = not expected.volumes or expected.instead
        return Verdict("right" if may else "refused" if refused else "nothing")
    return Verdict("partial" if left else "double" if spare else "right")
