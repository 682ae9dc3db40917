"""Hit rates of the burned-in text check by font size, contrast and ground, and its false alarms.

    OMP_NUM_THREADS=1 python benchmarks/burned_in.py ../shared/data [--per-cell 15] [--tesseract 4]

Writing is drawn with PIL in several faces on black, noisy and real ground; its contrast counts from
the 95th percentile of what lies beneath, in gray levels of 255. Beside ours stands plain
`tesseract --psm 11` on the same pictures (a hit: four characters it is sure of). All real scans
below the folder are then checked as ingest reads them.
"""

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.stats import binomtest

from medsynth.core.geometry import Geometry, Volume
from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest, load_scan
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.pixels.config import PixelChecks
from medsynth.ingest.pixels.ocr import count_in_picture, find_program
from medsynth.ingest.pixels.text import find_text

FACES = (
    "DejaVuSans.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSans-ExtraLight.ttf",
    "LiberationSans-Regular.ttf",
    "LiberationSansNarrow-Regular.ttf",
    "LiberationMono-Regular.ttf",
    "aileron",
    "bitmap",
)
STRINGS = (
    "KAUFMAN SCOTT [M]",
    "DOB: 07.22.1943",
    "Doe^Jane 1961-03-14",
    "MRN 00481516",
    "Mueller, Anna",
    "ID 7734921",
    "ST. MARY HOSPITAL",
    "12-Mar-2011 14:22",
    "van der Berg",
    "ACC20391",
)
SIZES, CONTRASTS, GROUNDS = (10, 14, 20, 28), (30, 60, 150), ("black", "noisy", "tissue")
SETS = ("cohort2d", "cohort3d", "dicom", "bids", "phi", "broken")
WITH_TEXT = ("presidio_burned_in",)


def stencil(text: str, face: str, size: int) -> np.ndarray:
    """Coverage (0 to 1) of the drawn text; the bitmap face comes in multiples of 11 pixels."""
    if face == "bitmap":
        font, times = ImageFont.load_default_imagefont(), max(1, round(size / 11))
    else:
        font = ImageFont.load_default(size) if face == "aileron" else ImageFont.truetype(face, size)
        times = 1
    left, top, right, bottom = font.getbbox(text)
    picture = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(picture).text((1 - left, 1 - top), text, fill=255, font=font)
    return np.kron(np.asarray(picture, np.float32) / 255, np.ones((times, times), np.float32))


def burn(rng: np.random.Generator, planes: np.ndarray, size: int, contrast: int) -> np.ndarray:
    """Planes (rows, columns, planes) with one line at the same place of each."""
    text, face = STRINGS[rng.integers(len(STRINGS))], FACES[rng.integers(len(FACES))]
    ink = stencil(text, face, size)
    while ink.shape[1] > planes.shape[1] - 2 and len(text) > 4:
        text = text[:-1]
        ink = stencil(text, face, size)
    ink = ink[:, : planes.shape[1]]
    rows, columns = ink.shape
    for _ in range(60):
        row = rng.integers(planes.shape[0] - rows + 1)
        column = rng.integers(planes.shape[1] - columns + 1)
        place = np.s_[row : row + rows, column : column + columns]
        level = np.percentile(planes[place], 95) + contrast
        if level <= 255:
            break
    out = planes.copy()
    out[place] = out[place] * (1 - ink[..., None]) + min(level, 255) * ink[..., None]
    return out


@dataclass
class Grounds:
    """What writing is drawn on; `pictures` are real scans without any, 0 to 255."""

    rng: np.random.Generator
    pictures: list[np.ndarray]

    def draw(self, kind: str, side: int, count: int) -> np.ndarray:
        """Planes (side, side, count); tissue moves from plane to plane."""
        if kind == "black":
            return np.zeros((side, side, count), np.float32)
        if kind == "noisy":
            level, sigma = self.rng.uniform(20, 100), self.rng.uniform(4, 10)
            return np.clip(self.rng.normal(level, sigma, (side, side, count)), 0, 255)
        picture = self.pictures[self.rng.integers(len(self.pictures))]
        plane = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
        moved = [np.roll(plane, (2 * k, k), (0, 1)) for k in range(count)]
        noise = self.rng.normal(0, 2 if count > 1 else 0, (side, side, count))
        return np.clip(np.stack(moved, -1) + noise, 0, 255)


def as_volume(planes: np.ndarray) -> Volume:
    """Planes as a screen shows them become axial planes in RAS+."""
    array = planes.transpose(1, 0, 2)[::-1, ::-1].astype(np.float32)
    return Volume(array[None], Geometry(array.shape, np.diag([1.0, 1.0, 3.0, 1.0])))


def gray(plane: np.ndarray) -> np.ndarray:
    low, high = np.percentile(plane, [0.5, 99.5])
    scaled = (plane.astype(np.float32) - low) * (255 / max(high - low, 1e-6))
    return np.clip(scaled, 0, 255).T[::-1, ::-1]


@dataclass
class Real:
    """All real scans of the data folder, as ingest reads them with its pixel checks off."""

    scans: list[tuple[str, Volume, int | None]] = field(default_factory=list)

    @classmethod
    def read(cls, data: Path, scratch: Path) -> "Real":
        found = cls()
        off = IngestConfig(
            min_matrix=1, localizers=True, pixels=PixelChecks(text="off", faces="keep")
        )
        for folder in sorted(p for name in SETS for p in (data / name).iterdir() if p.is_dir()):
            made = ingest(folder, scratch / folder.name, DEMO_KEYS, off)
            for scan in Manifest.read(made.path):
                axis = scan.provenance.plane_axis if scan.provenance else None
                found.scans.append((folder.name, load_scan(made.path, scan), axis))
        return found

    def grounds(self) -> list[np.ndarray]:
        chosen = ("soop_brain_128", "nih_cxr_128", "ct_ge_gantry_tilt", "tcia_pseudo_phi")
        per_set: dict[str, list[np.ndarray]] = defaultdict(list)
        for name, volume, _ in self.scans:
            if name in chosen:
                array = volume.array[0]
                clipped = np.clip(array, -160, 240) if "ct_" in name else array
                per_set[name] += [gray(clipped[:, :, k]) for k in range(array.shape[2])]
        return [picture for own in per_set.values() for picture in own[:: max(1, len(own) // 40)]]


def rate(hits: int, trials: int) -> str:
    """Share with its 95 % Clopper-Pearson interval."""
    if not trials:
        return "-"
    interval = binomtest(hits, trials).proportion_ci(method="exact")
    return f"{hits}/{trials} = {hits / trials:.1%} [{interval.low:.1%}, {interval.high:.1%}]"


def cells(sides: tuple[int, ...], num_planes: int) -> Iterator[tuple[str, int, int, int, int]]:
    for kind in GROUNDS:
        for side in sides:
            for size in SIZES:
                for contrast in CONTRASTS:
                    yield kind, side, size, contrast, num_planes


def measure(grounds: Grounds, per_cell: int, with_tesseract: int) -> None:
    """Print hit rates of ours, ours without OCR, and plain tesseract."""
    auto, alone = PixelChecks(), PixelChecks(ocr="off")
    program = find_program(auto)
    hits: Counter[tuple[object, ...]] = Counter()
    wanted = [
        *((cell, per_cell) for cell in cells((512,), 1)),
        *((cell, max(1, per_cell // 2)) for cell in cells((256, 128), 1)),
        *((cell, max(1, per_cell // 4)) for cell in cells((512,), 20)),
    ]
    for cell, count in wanted:
        kind, side, size, contrast, num_planes = cell
        for number in range(count):
            planes = burn(grounds.rng, grounds.draw(kind, side, num_planes), size, contrast)
            volume = as_volume(planes)
            found = {"alone": find_text(volume, alone) == "text"}
            found["ours"] = found["alone"] or find_text(volume, auto) == "text"
            if program and num_planes == 1 and side == 512 and number < with_tesseract:
                shown = planes[..., 0].astype(np.uint8)
                found["tesseract"] = count_in_picture(program, shown, auto, factor=1.0) >= 4
            for who, is_hit in found.items():
                hits[who, *cell, is_hit] += 1
    report(hits)


def report(hits: Counter[tuple[object, ...]]) -> None:
    def total(who: str, is_hit: bool, **limits: object) -> int:
        names = ("kind", "side", "size", "contrast", "planes")
        return sum(
            count
            for (name, *cell, hit), count in hits.items()
            if name == who
            and hit == is_hit
            and all(dict(zip(names, cell, strict=True))[k] in v for k, v in limits.items())  # type: ignore[operator]
        )

    def show(label: str, **limits: object) -> None:
        row = []
        for who in ("ours", "alone", "tesseract"):
            yes, no = (total(who, is_hit, **limits) for is_hit in (True, False))
            row.append(rate(yes, yes + no))
        print(f"| {label} | {' | '.join(row)} |", flush=True)

    print("| writing | ours | without OCR | tesseract --psm 11 |\n|---|---|---|---|")
    large = (14, 20, 28)
    show("all of 14 px and more, 512 x 512, one plane", side=(512,), size=large, planes=(1,))
    for kind in GROUNDS:
        show(
            f"{kind}, 512, one plane, >= 14 px", kind=(kind,), side=(512,), size=large, planes=(1,)
        )
        for size in SIZES:
            for contrast in CONTRASTS:
                show(
                    f"{kind}, 512, {size} px, contrast {contrast}",
                    kind=(kind,),
                    side=(512,),
                    size=(size,),
                    contrast=(contrast,),
                    planes=(1,),
                )
        for side in (256, 128):
            show(f"{kind}, {side}, >= 14 px", kind=(kind,), side=(side,), size=large, planes=(1,))
        show(f"{kind}, 512, 20 planes, >= 14 px", kind=(kind,), size=large, planes=(20,))
        show(f"{kind}, 512, 20 planes, 10 px", kind=(kind,), size=(10,), planes=(20,))


def false_alarms(real: Real) -> None:
    """Print what the check says of scans without writing, and of those with it."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    alone, seconds = Counter[str](), Counter[str]()
    groups = ("soop_brain_128", "nih_cxr_128", "hippocampus", "soop_lesion_masks", *WITH_TEXT)
    for name, volume, axis in real.scans:
        group = name if name in groups else "the rest"
        start = time.perf_counter()
        found[group][find_text(volume, PixelChecks(), axis)] += 1
        seconds[group] += time.perf_counter() - start
        alone[group] += find_text(volume, PixelChecks(ocr="off"), axis) == "text"
    print("\n| scans | refused | without OCR | suspected | marker | s a volume |")
    print("|---|---|---|---|---|---|")
    for group, counts in found.items():
        num = counts.total()
        row = [rate(counts["text"], num), str(alone[group]), str(counts["suspected"])]
        print(f"| {group} | {' | '.join(row)} | {counts['marker']} | {seconds[group] / num:.3f} |")
    clean = [group for group in found if group not in WITH_TEXT]
    refused = sum(found[group]["text"] for group in clean)
    print(
        f"| all without writing | {rate(refused, sum(found[g].total() for g in clean))} | | | | |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--per-cell", type=int, default=15)
    parser.add_argument("--tesseract", type=int, default=4)
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        real = Real.read(options.data, Path(scratch))
    false_alarms(real)
    grounds = Grounds(np.random.default_rng(options.seed), real.grounds())
    measure(grounds, options.per_cell, options.tesseract)


if __name__ == "__main__":
    main()
