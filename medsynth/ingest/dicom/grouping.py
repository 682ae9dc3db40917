"""Which planes belong to one volume: by what they must share, then by what tells repeats apart.

Planes share a series, a size, an orientation and a volume key. Where planes repeat at one place
all the same, a time, a number or an instance must part them into sets that each fill the stack;
what nothing parts is left together, and stacking drops it as identical or refuses it.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medsynth.ingest.dicom.frame import INSTANCE_KEY, Frame

SAME_ORIENTATION = 1e-3  # largest difference of a direction cosine within one volume
SAME_POSITION = 1e-3  # mm along the normal
_PHYSICS = 1  # place in Frame.order of what is physics and not time
_TIMES = range(2, 7)
_SMALLEST_SHARE = 0.5  # of the places that a volume must fill to be told apart
_TEMPORAL = "TemporalPositionIndex"


def group_frames(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Headers that belong to one volume each, in order of their first file, then of time."""
    groups: dict[tuple[object, ...], list[list[Frame]]] = {}
    for frame in frames:
        candidates = groups.setdefault(_key(frame), [])
        for group in candidates:
            if _same_orientation(group[0], frame):
                group.append(frame)
                break
        else:
            candidates.append([frame])
    alike = [group for candidates in groups.values() for group in candidates]
    return _timed([part for group in alike for part in _split(group)])


def in_order(frames: Sequence[Frame]) -> list[Frame]:
    """Planes in order along their normal; equal places keep the order of names."""
    if frames[0].is_detector_plane:
        return list(frames)
    normal = normal_of(frames[0])
    along = [float(np.dot(frame.position or (), normal)) for frame in frames]
    ranked = [(place, f.file.name, f.index) for place, f in zip(along, frames, strict=True)]
    return [frames[at] for at in sorted(range(len(frames)), key=ranked.__getitem__)]


def normal_of(frame: Frame) -> Any:
    """The unit normal of a plane in LPS."""
    axes = np.array(frame.orientation).reshape(2, 3)
    normal = np.cross(axes[0], axes[1])
    return normal / np.linalg.norm(normal)


def _key(frame: Frame) -> tuple[object, ...]:
    uid = frame.series["SeriesInstanceUID"]
    series = (frame.series["PatientID"], uid, frame.number, frame.modality)
    if frame.is_detector_plane:
        return (*series, frame.instance, frame.index)
    spacing = tuple(round(mm, 4) for mm in frame.spacing or ())
    return (*series, frame.shape, spacing, frame.volume_key)


def _same_orientation(one: Frame, other: Frame) -> bool:
    if one.orientation is other.orientation:
        return True
    if one.orientation is None or other.orientation is None:
        return False
    pairs = zip(one.orientation, other.orientation, strict=True)
    return max(abs(a - b) for a, b in pairs) <= SAME_ORIENTATION


def _split(group: list[Frame]) -> list[list[Frame]]:
    """The volumes of a group whose planes repeat; the group where nothing parts them."""
    if group[0].is_detector_plane or len(group) == 1:
        return [group]
    places = _places(group)
    seen = {(place, f.instance, f.index): None for place, f in zip(places, group, strict=True)}
    counts = np.bincount([place for place, _, _ in seen])
    if counts.max() == 1:
        return [group]
    for labels, is_time in _labelings(group, places):
        parts: dict[Any, list[int]] = {}
        for at, label in enumerate(labels):
            parts.setdefault(label, []).append(at)
        if _is_partition(parts, group, places, int(counts.max()), len(counts)):
            ordered = [[group[at] for at in parts[label]] for label in sorted(parts)]
            return _numbered(ordered) if is_time else ordered
    return [group]


def _places(group: Sequence[Frame]) -> list[int]:
    """For each plane the number of its place along the normal."""
    normal = normal_of(group[0])
    along = np.array([frame.position for frame in group]) @ normal
    order = np.argsort(along, kind="stable")
    places, last, number = [0] * len(group), along[order[0]], 0
    for at in order:
        if along[at] - last >= SAME_POSITION:
            number, last = number + 1, along[at]
        places[at] = number
    return places


def _labelings(group: Sequence[Frame], places: Sequence[int]) -> Iterator[tuple[list[Any], bool]]:
    """Ways to part the planes, the most telling first, and whether they are an order in time."""
    if len({frame.instance for frame in group}) < len(group) / 2:
        moments = _first_moments(group)
        yield [(*moments[frame.instance], frame.instance) for frame in group], True
    for at in range(len(group[0].order)):
        values = [frame.order[at] for frame in group]
        if all(values):
            yield list(values), at != _PHYSICS
    for at in _TIMES:
        values = [frame.order[at] for frame in group]
        if all(values):
            yield from ((labels, True) for labels in _ranks(group, places, [v[0] for v in values]))


def _first_moments(group: Sequence[Frame]) -> dict[str, tuple[Any, ...]]:
    """By instance: when it was taken, as far as the header says."""
    found: dict[str, tuple[Any, ...]] = {}
    for frame in group:
        moment = tuple(frame.order[at] for at in _TIMES)
        found[frame.instance] = min(found.get(frame.instance, moment), moment)
    return found


def _ranks(
    group: Sequence[Frame], places: Sequence[int], values: Sequence[float]
) -> Iterator[list[Any]]:
    """By rank at each place, where values run volume by volume or place by place."""
    at_place: dict[int, dict[Hashable, float]] = {}
    for frame, place, value in zip(group, places, values, strict=True):
        at_place.setdefault(place, {})[(frame.instance, frame.index)] = value
    sizes = {len(found) for found in at_place.values()}
    table = [sorted(found.values()) for found in at_place.values()]
    if len(sizes) == 1 and all(len(set(row)) == len(row) for row in table):
        array = np.array(table)
        by_volume = bool((array.max(axis=0)[:-1] < array.min(axis=0)[1:]).all())
        rows = array[np.argsort(array[:, 0])]
        by_place = bool((rows[:-1, -1] < rows[1:, 0]).all())
        if by_volume or by_place:
            rank = {place: sorted(found.values()) for place, found in at_place.items()}
            yield [rank[p].index(v) for p, v in zip(places, values, strict=True)]
    yield from _cycles(places, values)


def _cycles(places: Sequence[int], values: Sequence[float]) -> Iterator[list[Any]]:
    """By counting: numbers that run through all places again and again, some perhaps missing."""
    period = max(places) + 1
    residues = {(place, value % period) for place, value in zip(places, values, strict=True)}
    if len(residues) == period == len({residue for _, residue in residues}):
        yield [(value - 1) // period for value in values]


def _is_partition(
    parts: dict[Any, list[int]],
    group: Sequence[Frame],
    places: Sequence[int],
    num_volumes: int,
    num_places: int,
) -> bool:
    """Whether each part is one volume: no place twice, and few places empty."""
    if len(parts) != num_volumes:
        return False
    for members in parts.values():
        distinct = {(places[at], group[at].instance, group[at].index) for at in members}
        filled = {place for place, _, _ in distinct}
        if len(filled) < len(distinct) or len(filled) < _SMALLEST_SHARE * num_places:
            return False
    return True


def _timed(groups: list[list[Frame]]) -> list[list[Frame]]:
    """Mosaics of one series numbered in time: each is a volume of its own."""
    families: dict[tuple[object, ...], list[int]] = {}
    for at, group in enumerate(groups):
        if group[0].volume_key and group[0].volume_key[-1].startswith(INSTANCE_KEY):
            whole = replace(group[0], volume_key=group[0].volume_key[:-1])
            families.setdefault((*_key(whole), whole.orientation), []).append(at)
    for members in families.values():
        if len(members) > 1:
            ordered = sorted(members, key=lambda at: tuple(groups[at][0].order))
            for at, part in zip(members, _numbered([groups[at] for at in ordered]), strict=True):
                groups[at] = part
    return groups


def _numbered(volumes: Sequence[list[Frame]]) -> list[list[Frame]]:
    """The volumes with their place in time, counted from 1."""
    numbered = []
    for number, volume in enumerate(volumes):
        told: dict[int, dict[str, Any]] = {}
        for frame in volume:
            told.setdefault(
                id(frame.acquisition), {**frame.acquisition, _TEMPORAL: float(number + 1)}
            )
        numbered.append([replace(f, acquisition=told[id(f.acquisition)]) for f in volume])
    return numbered
