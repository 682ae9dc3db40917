"""Faces found and removed: heads, warped and cropped copies of them, and all that is no face.

    OMP_NUM_THREADS=1 python -m benchmarks.faces ../shared/data [--copies 6] [--pictures FOLDER]

A face is what lies in the template's mask (no margin) after registration of the unwarped head, a
registration that was looked at; a brain is what morphology leaves of a T1 head. Both are carried
through the warp; missed is face tissue that is still there, lost is brain that is not.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks.burned_in import Real, rate
from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Geometry, Volume
from medsynth.ingest.pixels.config import PixelChecks
from medsynth.ingest.pixels.face_removal import face_mask, register
from medsynth.ingest.pixels.faces import check_face
from medsynth.ingest.pixels.head import find_head, may_hold_head

HEADS = "ixi_t1_2mm"
Case = tuple[str, Volume, np.ndarray, np.ndarray]


def turned(
    array: np.ndarray, affine: np.ndarray, degrees: np.ndarray, zoom: np.ndarray
) -> np.ndarray:
    """A head turned about its middle and stretched, on the same grid."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        i, j = (k for k in range(3) if k != axis)
        turn = np.eye(3)
        turn[[i, i, j, j], [i, j, i, j]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        matrix = matrix @ turn
    matrix = matrix @ np.diag(zoom)
    axes = np.linalg.inv(affine[:3, :3]) @ matrix @ affine[:3, :3]
    middle = np.array(array.shape) / 2
    return ndimage.affine_transform(array.astype(np.float32), axes, middle - axes @ middle, order=1)


def brain_of(volume: Volume) -> np.ndarray:
    """What is left of a T1 head after eroding 6 mm, keeping the largest body, and growing back."""
    array, mm = volume.array[0], float(np.mean(volume.geometry.spacing))
    eroded = ndimage.binary_erosion(
        array > 0.28 * np.percentile(array, 99), iterations=round(6 / mm)
    )
    labels, _ = ndimage.label(eroded)
    core = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return ndimage.binary_fill_holes(ndimage.binary_dilation(core, iterations=round(8 / mm)))


def copies(name: str, head: Volume, count: int, rng: np.random.Generator) -> Iterator[Case]:
    """(kind, volume, its face, its brain) of one head and of altered copies."""
    found = find_head(head)
    assert found is not None
    geometry, array = head.geometry, head.array[0]
    face, brain = face_mask(geometry, register(found), margin=0.0), brain_of(head)
    yield "as it is", head, face, brain
    for _ in range(count):
        degrees, zoom = rng.uniform(-15, 15, 3), rng.uniform(0.9, 1.12, 3)
        moved = [
            turned(each, geometry.affine, degrees, zoom)
            for each in (array, face * 1.0, brain * 1.0)
        ]
        yield (
            "turned <= 15 deg, stretched 0.9 to 1.12",
            Volume(moved[0][None], geometry),
            moved[1] > 0.5,
            moved[2] > 0.5,
        )
        noise = rng.normal(0, 0.04 * np.percentile(array, 99), array.shape)
        yield "noise 4 %", Volume((array + noise).astype(np.float32)[None], geometry), face, brain
    top = float(np.percentile(array, 99.5))
    dark = np.where(array > 0.1 * top, np.clip(1.1 * top - array, 0, None), array)
    yield "contrast inverted", Volume(dark.astype(np.float32)[None], geometry), face, brain
    for cut in (10, 20, 30):
        affine = geometry.affine.copy()
        affine[:3, 3] = (affine @ [0, 0, cut, 1])[:3]
        i, j, k = array[:, :, cut:].shape
        part = Volume(array[None, :, :, cut:], Geometry((i, j, k), affine))
        yield f"{2 * cut} mm cut from below", part, face[:, :, cut:], brain[:, :, cut:]


def measure(kind: str, case: tuple[Volume, np.ndarray, np.ndarray]) -> tuple[str, dict[str, float]]:
    volume, face, brain = case
    start = time.perf_counter()
    try:
        after, flags = check_face(volume, modality="MR", config=PixelChecks())
    except UnreadableScan:
        return "refused", {}
    seconds = time.perf_counter() - start
    if not flags:
        return "not found", {}
    gone = after.array[0] != volume.array[0]
    tissue = volume.array[0] > 0.12 * np.percentile(volume.array[0], 99.5)
    missed = float((face & tissue & ~gone).sum() / (face & tissue).sum())
    return "defaced", {
        "missed": missed,
        "lost": float((brain & gone).sum() / brain.sum()),
        "seconds": seconds,
    }


def pictures(folder: Path, number: int, before: Volume, after: Volume) -> None:
    """Three planes before and after, to be looked at."""
    top = np.percentile(before.array, 99.5)
    rows = []
    for volume in (before, after):
        planes = [
            volume.array[0].take(side // 2 if axis < 2 else side // 3, axis)
            for axis, side in enumerate(volume.array.shape[1:])
        ]
        gray = [np.rot90(np.clip(plane / top * 255, 0, 255)).astype(np.uint8) for plane in planes]
        rows.append(np.hstack([np.asarray(Image.fromarray(g).resize((300, 300))) for g in gray]))
    Image.fromarray(np.vstack(rows)).save(folder / f"face{number}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--copies", type=int, default=6)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        scans = Real.read(options.data, Path(scratch)).scans
    rng = np.random.default_rng(2026)
    results: dict[str, list[tuple[str, dict[str, float]]]] = {}
    negatives: Counter[tuple[str, bool]] = Counter()
    for number, (name, volume, _) in enumerate(scans):
        if name != HEADS:
            head = find_head(volume)
            negatives["no head", head is not None and head.has_face] += 1
            negatives["of these with a field that could hold one", may_hold_head(volume)] += 1
            continue
        for kind, *case in copies(name, volume, options.copies, rng):
            results.setdefault(kind, []).append(measure(kind, case))
        stripped = Volume((volume.array * brain_of(volume)).astype(np.float32), volume.geometry)
        head = find_head(stripped)
        negatives["heads stripped to the brain", head is not None and head.has_face] += 1
        if options.pictures:
            after, _ = check_face(volume, modality="MR", config=PixelChecks())
            pictures(options.pictures, number, volume, after)
    print("| heads | found | then refused | face missed, mean / worst | brain lost, worst | s |")
    print("|---|---|---|---|---|---|")
    for kind, rows in results.items():
        found = [row for row in rows if row[0] != "not found"]
        done = [row[1] for row in rows if row[0] == "defaced"]
        missed, lost, seconds = ([d[key] for d in done] for key in ("missed", "lost", "seconds"))
        print(
            f"| {kind} | {rate(len(found), len(rows))} | {len(found) - len(done)} "
            f"| {np.mean(missed):.2%} / {max(missed):.2%} | {max(lost):.3%} "
            f"| {np.mean(seconds):.1f} / {max(seconds):.1f} |"
        )
    for (name, is_hit), count in sorted(negatives.items()):
        print(f"- {name}: {'yes' if is_hit else 'no'} {count}")


if __name__ == "__main__":
    main()
