"""Further cases of MR: echoes, time, and what vendors write in private elements.

Sources of the private elements: the vendors' conformance statements as collected by dcm2niix
(rordenlab/dcm2niix, folders Siemens, GE, Philips, UIH) and nibabel's nicom.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from matrix.case import Expectation, case, of_grids, one, wanted
from matrix.files import save, save_all
from matrix.multiframe import item
from matrix.phantom import (
    AXIAL,
    CORONAL,
    ORIGIN,
    SMALL,
    Grid,
    Sheet,
    describe,
    put_pixels,
    sheet,
    small,
    stored,
    values_of,
)
from matrix.scored import DIRECTIONS, rotation
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

CSA = (0x0029, "SIEMENS CSA HEADER")


def private(
    dataset: Dataset, group: int, creator: str, elements: dict[int, tuple[str, Any]]
) -> None:
    """Write private elements under their creator."""
    block = dataset.private_block(group, creator, create=True)
    for offset, (vr, value) in elements.items():
        block.add_new(offset, vr, value)


def volumes(folder: Path, sets: list[list[Sheet]], about: list[dict[str, Any]]) -> Expectation:
    """One series of several volumes."""
    save_all([each for sheets in sets for each in sheets], folder)
    pairs = zip(sets, about, strict=True)
    return Expectation(tuple(wanted(sheets, acquisition=words) for sheets, words in pairs))


def repeat(number: int, count: int = 6, grid: Grid = SMALL, **tags: Any) -> list[Sheet]:
    """The n-th volume of a series, its constant 1000 n."""
    options = {"constant": 1000.0 * number, "intercept": 0.0, "Modality": "MR"}
    step = 2 * grid.normal
    return small(count, grid=grid, step=step, first=1 + count * (number - 1), **options, **tags)


@case("multi-echo by EchoNumbers alone")
def echo_numbers(folder: Path) -> Expectation:
    return volumes(folder, [repeat(n, EchoNumbers=n) for n in (1, 2, 3)], [{}] * 3)


@case("cine by TriggerTime")
def cine(folder: Path) -> Expectation:
    about = [{"TriggerTime": 40.0 * n} for n in (0, 1, 2)]
    return volumes(folder, [repeat(n + 1, TriggerTime=f"{40 * n}") for n in (0, 1, 2)], about)


@case("time series by AcquisitionNumber")
def acquisitions(folder: Path) -> Expectation:
    sets = [repeat(n, AcquisitionNumber=n) for n in (1, 2, 3)]
    expected = volumes(folder, sets, [{}] * 3)
    return Expectation(expected.volumes, instead=("duplicate_conflict",))


@case("time series by AcquisitionTime")
def times(folder: Path) -> Expectation:
    sets = [repeat(n, AcquisitionTime=f"10000{n}.5") for n in (1, 2, 3)]
    expected = volumes(folder, sets, [{}] * 3)
    return Expectation(expected.volumes, instead=("duplicate_conflict",))


@case("time series by InstanceNumber alone")
def numbers(folder: Path) -> Expectation:
    expected = volumes(folder, [repeat(n) for n in (1, 2, 3)], [{}] * 3)
    return Expectation(expected.volumes, instead=("duplicate_conflict",))


@case("each slice at its own time")
def slice_times(folder: Path) -> Expectation:
    sheets = repeat(1)
    for k, each in enumerate(sheets):
        each.dataset.AcquisitionTime = f"1000{10 + k}.25"
        each.dataset.TriggerTime = f"{17 * k}"
        each.dataset.AcquisitionNumber = k + 1
    save_all(sheets, folder)
    return one(sheets)


@case("4D, one slice of one time missing")
def hole_in_time(folder: Path) -> Expectation:
    sets = [repeat(n, TemporalPositionIdentifier=n) for n in (1, 2, 3)]
    del sets[1][2]
    save_all([each for sheets in sets for each in sheets], folder)
    flags = {"missing_slices"}
    middle = wanted(
        sets[1], 6, flags=flags, observed=5 / 6, acquisition={"TemporalPositionIndex": 2}
    )
    return Expectation((wanted(sets[0]), middle, wanted(sets[2])))


@case("magnitude and phase")
def parts(folder: Path) -> Expectation:
    sets = [repeat(n, ImageType=["ORIGINAL", "PRIMARY", kind]) for n, kind in ((1, "M"), (2, "P"))]
    return volumes(folder, sets, [{}] * 2)


@case("inversion times")
def inversions(folder: Path) -> Expectation:
    return volumes(folder, [repeat(n, InversionTime=f"{300 * n}") for n in (1, 2)], [{}] * 2)


@case("PET and CT in one series")
def two_modalities(folder: Path) -> Expectation:
    ct, pt = small(), small(constant=500.0, Modality="PT", Units="BQML")
    save_all([*ct, *pt], folder)
    return Expectation((wanted(ct), wanted(pt)))


@case("PET with all that SUV needs")
def suv(folder: Path) -> Expectation:
    drug = item(
        RadionuclideTotalDose="3.7E8",
        RadionuclideHalfLife="6586.2",
        RadiopharmaceuticalStartTime="090000",
    )
    tags = {
        "Units": "BQML",
        "DecayCorrection": "START",
        "PatientWeight": "70",
        "SeriesTime": "100000",
    }
    sheets = small(Modality="PT", RadiopharmaceuticalInformationSequence=Items([drug]), **tags)
    save_all(sheets, folder)
    return one(sheets, acquisition={"Units": "BQML"})


def scaled(
    folder: Path, manufacturer: str, group: int, creator: str, elements: dict[int, Any]
) -> Expectation:
    """Standard rescale decides; another scale stands in private elements."""
    sheets = small(slope=0.5, intercept=10.0, Modality="MR", Manufacturer=manufacturer)
    for each in sheets:
        private(each.dataset, group, creator, elements)
    save_all(sheets, folder)
    return one(sheets, acquisition={"Scaling": "rescale"})


@case("Philips private scaling")
def philips_scaling(folder: Path) -> Expectation:
    elements = {0x0D: ("FL", 12.0), 0x0E: ("FL", 0.0321)}
    return scaled(folder, "Philips Medical Systems", 0x2005, "Philips MR Imaging DD 001", elements)


@case("UIH with its private header")
def uih_scaling(folder: Path) -> Expectation:
    sheets = small(slope=0.5, intercept=10.0, Modality="MR", Manufacturer="UIH")
    for each in sheets:
        private(each.dataset, 0x0065, "Image Private Header", {0x09: ("FD", 0.0)})
    save_all(sheets, folder)
    return one(sheets)


def diffusion_series(
    folder: Path, maker: str, write: Any, grid: Grid = SMALL, b_value: float = 1000.0, **tags: Any
) -> Expectation:
    """b=0 and three directions, told by `write(dataset, b, direction)` alone."""
    about: list[dict[str, Any]] = [{"DiffusionBValue": 0.0}]
    about += [{"DiffusionBValue": b_value, "DiffusionGradientOrientation": d} for d in DIRECTIONS]
    sets = [repeat(n + 1, grid=grid, Manufacturer=maker, **tags) for n in range(4)]
    for sheets, words in zip(sets, about, strict=True):
        for each in sheets:
            write(each.dataset, words["DiffusionBValue"], words.get("DiffusionGradientOrientation"))
    return volumes(folder, sets, about)


OBLIQUE = Grid(ORIGIN, (*rotation(20, 30)[:, 0], *rotation(20, 30)[:, 1]), (1, 1), SMALL.shape)


@case("DWI, Siemens private")
def siemens_dwi(folder: Path) -> Expectation:
    def write(dataset: Dataset, b: float, direction: Any) -> None:
        elements: dict[int, Any] = {0x0C: ("IS", f"{b:.0f}")}
        if direction:
            elements[0x0E] = ("FD", list(direction))
        private(dataset, 0x0019, "SIEMENS MR HEADER", elements)

    return diffusion_series(folder, "SIEMENS", write, OBLIQUE)


@case("DWI, Philips private")
def philips_dwi(folder: Path) -> Expectation:
    def write(dataset: Dataset, b: float, direction: Any) -> None:
        private(dataset, 0x2001, "Philips Imaging DD 001", {0x03: ("FL", b)})
        x, y, z = direction or (0.0, 0.0, 0.0)
        parts = {0xB0: ("FL", x), 0xB1: ("FL", y), 0xB2: ("FL", z)}
        private(dataset, 0x2005, "Philips MR Imaging DD 001", parts)

    return diffusion_series(folder, "Philips Medical Systems", write, OBLIQUE)


@case("DWI, UIH private")
def uih_dwi(folder: Path) -> Expectation:
    def write(dataset: Dataset, b: float, direction: Any) -> None:
        elements: dict[int, Any] = {
            0x09: ("FD", b),
            0x37: ("FD", list(direction or (0.0, 0.0, 0.0))),
        }
        private(dataset, 0x0065, "Image Private Header", elements)

    return diffusion_series(folder, "UIH", write)


def ge_elements(dataset: Dataset, b: float, frequency: tuple[float, float, float]) -> None:
    """b-value with GE's offset of 1e9, direction along (frequency, phase, slice)."""
    text = [f"{1_000_000_000 + int(b)}", "0", "0", "0"]
    private(dataset, 0x0043, "GEMS_PARM_01", {0x39: ("IS", text)})
    parts = dict(zip((0xBB, 0xBC, 0xBD), (("DS", f"{x:.6g}") for x in frequency), strict=True))
    private(dataset, 0x0019, "GEMS_ACQU_01", parts)


@case("DWI, GE private, phase along columns")
def ge_columns(folder: Path) -> Expectation:
    def write(dataset: Dataset, b: float, direction: Any) -> None:
        x, y, z = direction or (0.0, 0.0, 0.0)
        ge_elements(dataset, b, (x, y, -z))

    return diffusion_series(
        folder, "GE MEDICAL SYSTEMS", write, InPlanePhaseEncodingDirection="COL"
    )


@case("DWI, GE private, phase along rows")
def ge_rows(folder: Path) -> Expectation:
    def write(dataset: Dataset, b: float, direction: Any) -> None:
        x, y, z = direction or (0.0, 0.0, 0.0)
        ge_elements(dataset, b, (-y, x, -z))

    return diffusion_series(
        folder, "GE MEDICAL SYSTEMS", write, InPlanePhaseEncodingDirection="ROW"
    )


@case("DWI in no known encoding")
def unknown_dwi(folder: Path) -> Expectation:
    def write(dataset: Dataset, b: float, direction: Any) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"]
        private(dataset, 0x0071, "SOME SCANNER", {0x01: ("DS", f"{b:g}")})

    expected = diffusion_series(folder, "Acme", write)
    return Expectation(refused={"duplicate_conflict|unknown_diffusion": 6 * len(expected.volumes)})


def csa_header(images: int, normal: np.ndarray) -> bytes:
    """A CSA2 image header with the elements that a mosaic needs (nibabel, nicom/csareader)."""
    tags = {
        "NumberOfImagesInMosaic": ("US", [str(images)]),
        "SliceNormalVector": ("FD", [f"{x:.8f}" for x in normal]),
    }
    body = b"SV10\4\3\2\1" + struct.pack("<II", len(tags), 77)
    for name, (vr, values) in tags.items():
        items = [f"{value:<12}".encode() for value in values] + [b""] * (6 - len(values))
        body += name.encode().ljust(64, b"\0") + struct.pack("<I", len(values))
        body += vr.encode().ljust(4, b"\0") + struct.pack("<III", 0, len(items), 77)
        for text in items:
            size = len(text)
            body += struct.pack("<IIII", size, size, 77, size) + text + b"\0" * (-size % 4)
    return body


def mosaic(
    grid: Grid, count: int, *, sign: int = 1, gap: float = 3.0, has_header: bool = True
) -> tuple[Dataset, list[Grid]]:
    """One Siemens mosaic of `count` tiles along `sign` times the normal, and the tiles' planes.

    The position written is that of a plane as large as the mosaic about the same middle, which
    is what Siemens writes (nibabel, nicom.dicomwrappers.MosaicWrapper.image_position).
    """
    side = int(np.ceil(np.sqrt(count)))
    rows, columns = grid.shape
    planes = [grid.moved(sign * gap * k * grid.normal) for k in range(count)]
    pixels = np.zeros((side * rows, side * columns), "<u2")
    for k, plane in enumerate(planes):
        down, across = divmod(k, side)
        where = np.s_[down * rows : (down + 1) * rows, across * columns : (across + 1) * columns]
        pixels[where] = stored(values_of(plane, 1000.0), 1, 0, "<u2")
    across, down = np.array(grid.orientation).reshape(2, 3)
    shift = across * grid.spacing[1] * columns + down * grid.spacing[0] * rows
    position = np.array(grid.position) - shift * (side - 1) / 2
    dataset = sheet(
        grid, Modality="MR", Manufacturer="SIEMENS", RescaleSlope=None, RescaleIntercept=None
    ).dataset
    describe(dataset, Grid(tuple(position), grid.orientation, grid.spacing, pixels.shape))
    put_pixels(dataset, pixels)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    dataset.SpacingBetweenSlices = f"{gap}"
    if has_header:
        private(dataset, *CSA, {0x10: ("OB", csa_header(count, sign * grid.normal))})
    return dataset, planes


def mosaic_case(folder: Path, grid: Grid, **options: Any) -> Expectation:
    dataset, planes = mosaic(grid, 7, **options)
    save(dataset, folder / "image")
    known = [(str(dataset.SOPInstanceUID), plane) for plane in planes]
    return Expectation((of_grids(known, constant=1000.0),))


@case("Siemens mosaic")
def siemens_mosaic(folder: Path) -> Expectation:
    return mosaic_case(folder, SMALL)


@case("Siemens mosaic, oblique, oblong pixels")
def oblique_mosaic(folder: Path) -> Expectation:
    return mosaic_case(folder, Grid(ORIGIN, OBLIQUE.orientation, (0.8, 1.3), SMALL.shape))


@case("Siemens mosaic, tiles against the normal")
def reversed_mosaic(folder: Path) -> Expectation:
    return mosaic_case(folder, Grid(ORIGIN, CORONAL, (1, 1), SMALL.shape), sign=-1)


@case("Siemens mosaic over time")
def mosaics(folder: Path) -> Expectation:
    wants = []
    for n in (1, 2):
        dataset, planes = mosaic(SMALL, 5)
        pixels = np.frombuffer(dataset.PixelData, "<u2")
        dataset.PixelData = np.where(pixels > 0, pixels + 1000 * (n - 1), 0).astype("<u2").tobytes()
        dataset.AcquisitionNumber = dataset.InstanceNumber = n
        dataset.AcquisitionTime = f"10000{n}.0"
        save(dataset, folder / f"{n}")
        known = [(str(dataset.SOPInstanceUID), plane) for plane in planes]
        wants.append(of_grids(known, constant=1000.0 * n))
    return Expectation(tuple(wants))


@case("mosaic without its header")
def bare_mosaic(folder: Path) -> Expectation:
    dataset, _ = mosaic(SMALL, 7, has_header=False)
    save(dataset, folder / "image")
    return Expectation(refused={"mosaic": 1})


@case("UIH grid")
def uih_grid(folder: Path) -> Expectation:
    dataset, _ = mosaic(SMALL, 7, has_header=False)
    dataset.Manufacturer, dataset.ImageType = "UIH", ["ORIGINAL", "PRIMARY", "M", "GRID"]
    private(dataset, 0x0065, "Image Private Header", {0x50: ("DS", "7")})
    save(dataset, folder / "image")
    return Expectation(refused={"mosaic": 1})


@case("axial twins a slice apart")
def shifted_twins(folder: Path) -> Expectation:
    first = repeat(1, EchoTime="10")
    second = repeat(2, grid=Grid((-30, -20, -14), AXIAL, (1, 1), SMALL.shape), EchoTime="20")
    return volumes(folder, [first, second], [{"EchoTime": 10.0}, {"EchoTime": 20.0}])
