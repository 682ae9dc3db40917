"""Further cases of geometry: positions, orientations, gaps, repetitions."""

from pathlib import Path

import numpy as np
from matrix.case import Expectation, case, one, refused, wanted
from matrix.files import save_all
from matrix.phantom import (
    AXIAL,
    CORONAL,
    ORIGIN,
    SAGITTAL,
    SMALL,
    Grid,
    curved,
    series,
    sheet,
    small,
)
from matrix.scored import oblique, rotation

GAP_OF_05 = 4.0  # mm between the neighbors of the missing slice
WAVE = 40 * (2 * np.pi / 25) ** 2  # largest second derivative of the curved field, per mm^2


def bound(gap: float) -> float:
    """Largest error of linear interpolation between planes `gap` mm apart, with rounding."""
    return float(gap**2 / 8 * WAVE) + 1.2


@case("curved field, missing slice")
def curved_missing(folder: Path) -> Expectation:
    sheets = series(field=curved)
    del sheets[7]
    save_all(sheets, folder)
    about = {"flags": {"missing_slices"}, "observed": 0.95}
    return one(sheets, 20, **about, value=curved, tolerance=bound(GAP_OF_05))


@case("curved field, variable spacing")
def curved_variable(folder: Path) -> Expectation:
    heights = [*np.arange(10) * 2.0, *(18 + 5.0 * np.arange(1, 11))]
    sheets = [sheet(Grid().moved((0, 0, height)), field=curved) for height in heights]
    save_all(sheets, folder)
    about = {"flags": {"variable_spacing"}, "observed": (0.3, 0.6)}
    return one(sheets, (20, 36), **about, value=curved, tolerance=bound(5.0))


def facing(folder: Path, position: str, orientation: tuple[float, ...]) -> Expectation:
    """A patient who lies otherwise: position and orientation decide, PatientPosition nothing."""
    grid = Grid(ORIGIN, orientation, (0.8, 1.2), SMALL.shape)
    step = 2.5 * grid.normal
    save_all(sheets := small(grid=grid, step=step, PatientPosition=position), folder)
    return one(sheets)


@case("HFP")
def prone(folder: Path) -> Expectation:
    return facing(folder, "HFP", (-1, 0, 0, 0, -1, 0))


@case("HFDR")
def decubitus(folder: Path) -> Expectation:
    return facing(folder, "HFDR", (0, 1, 0, -1, 0, 0))


@case("FFS")
def feet_first(folder: Path) -> Expectation:
    return facing(folder, "FFS", (-1, 0, 0, 0, 1, 0))


@case("FFDL")
def feet_first_decubitus(folder: Path) -> Expectation:
    return facing(folder, "FFDL", (0, -1, 0, -1, 0, 0))


@case("FFS said, HFS meant")
def wrong_patient_position(folder: Path) -> Expectation:
    return facing(folder, "FFS", AXIAL)


@case("oblique coronal")
def oblique_coronal(folder: Path) -> Expectation:
    turn = rotation(-25, 10)
    orientation = (*turn @ CORONAL[:3], *turn @ CORONAL[3:])
    return facing(folder, "HFS", tuple(map(float, orientation)))


@case("sagittal, reversed")
def sagittal_reversed(folder: Path) -> Expectation:
    grid = Grid(orientation=SAGITTAL, spacing=(0.7, 1.3), shape=SMALL.shape)
    sheets = small(grid=grid, step=(-3, 0, 0))
    save_all(sheets, folder)
    return one(sheets)


@case("double oblique, 40 and 50 degrees")
def steep(folder: Path) -> Expectation:
    axes = rotation(40, 50)
    return facing(folder, "HFS", (*axes[:, 0], *axes[:, 1]))


@case("gaps at several places")
def gaps(folder: Path) -> Expectation:
    sheets = small(16)
    for k in (12, 7, 6, 2):
        del sheets[k]
    save_all(sheets, folder)
    return one(sheets, 16, flags={"missing_slices"}, observed=12 / 16)


@case("gap and duplicate")
def gap_and_duplicate(folder: Path) -> Expectation:
    sheets, again = small(10), small(10)[3:4]
    del sheets[6]
    save_all([*sheets, *again], folder)
    flags = {"missing_slices", "duplicates_dropped"}
    volume = wanted([*sheets, *again], 10, flags=flags, observed=0.9)
    return Expectation((volume,), {"duplicate": 1})


@case("tilt and missing slice")
def tilt_and_gap(folder: Path) -> Expectation:
    angle = np.deg2rad(12)
    grid = Grid(ORIGIN, (1, 0, 0, 0, np.cos(angle), np.sin(angle)), (1, 1), SMALL.shape)
    sheets = small(10, grid=grid)
    del sheets[4]
    save_all(sheets, folder)
    about = {"flags": {"missing_slices", "sheared"}, "acquisition": {"ShearAngle": 12.0}}
    return one(sheets, 10, observed=0.9, **about)


@case("localizer and gap")
def localizer_and_gap(folder: Path) -> Expectation:
    other = sheet(Grid(orientation=SAGITTAL, shape=SMALL.shape))
    sheets = small(10)
    del sheets[5]
    save_all([*sheets, other], folder)
    volume = wanted(sheets, 10, flags={"missing_slices"}, observed=0.9)
    return Expectation((volume, wanted([other], flags={"single_slice"})))


@case("oblique and gap")
def oblique_and_gap(folder: Path) -> Expectation:
    grid = oblique(shape=SMALL.shape, spacing=(0.6, 0.9))
    sheets = small(9, grid=grid, step=3 * grid.normal)
    del sheets[1]
    save_all(sheets, folder)
    return one(sheets, 9, flags={"missing_slices"}, observed=8 / 9)


@case("same position, different pixels")
def conflict(folder: Path) -> Expectation:
    other = sheet(SMALL.moved((0, 0, 4)), constant=300.0)
    save_all([*small(), other], folder)
    return refused("duplicate_conflict", 9)


@case("same pixels, another position")
def equal_pixels(folder: Path) -> Expectation:
    flat = small(field=lambda lps: 0 * lps[..., 0] + 40)
    save_all(flat, folder)
    return one(flat, value=lambda lps: 0 * lps[..., 0] + 40)


@case("two interleaved halves, numbered apart")
def interleaved(folder: Path) -> Expectation:
    sheets = small(10)
    for k, each in enumerate(sheets):
        each.dataset.InstanceNumber = 1 + k // 2 + 5 * (k % 2)
        each.dataset.AcquisitionTime = f"1000{each.dataset.InstanceNumber:02d}"
    save_all(sheets, folder)
    return one(sheets)


@case("a gap too wide to fill")
def wide_gap(folder: Path) -> Expectation:
    far = sheet(SMALL.moved((0, 0, 300)))
    save_all([*small(5), far], folder)
    return refused("variable_spacing", 6)


@case("a bent stack")
def bent(folder: Path) -> Expectation:
    sheets = [sheet(SMALL.moved((0.3 * k * k, 0, 2 * k))) for k in range(8)]
    save_all(sheets, folder)
    return refused("no_geometry", 8)


@case("SpacingBetweenSlices contradicts")
def contradicted(folder: Path) -> Expectation:
    save_all(sheets := small(SpacingBetweenSlices="7", SliceThickness="9"), folder)
    return one(sheets)


@case("SliceLocation contradicts")
def located(folder: Path) -> Expectation:
    sheets = small()
    for k, each in enumerate(sheets):
        each.dataset.SliceLocation = f"{(k * 5) % 8}"
    save_all(sheets, folder)
    return one(sheets)


def spaced(folder: Path, spacing: list[str]) -> Expectation:
    save_all(small(PixelSpacing=spacing), folder)
    return refused("no_geometry|bad_element", 8)


@case("zero PixelSpacing")
def zero_spacing(folder: Path) -> Expectation:
    return spaced(folder, ["0", "0"])


@case("negative PixelSpacing")
def negative_spacing(folder: Path) -> Expectation:
    return spaced(folder, ["-1", "1"])


@case("no PixelSpacing")
def no_spacing(folder: Path) -> Expectation:
    save_all(small(PixelSpacing=None), folder)
    return refused("no_geometry", 8)


@case("non-orthogonal IOP")
def crooked(folder: Path) -> Expectation:
    save_all(small(ImageOrientationPatient=["1", "0", "0", "0.6", "0.8", "0"]), folder)
    return refused("no_geometry|bad_element", 8)


@case("IOP of zeros")
def no_direction(folder: Path) -> Expectation:
    save_all(small(ImageOrientationPatient=["0"] * 6), folder)
    return refused("no_geometry|bad_element", 8)


def damaged_position(folder: Path, position: list[str]) -> Expectation:
    """One slice of eight has no usable position: it is refused, the others have a gap."""
    sheets = small()
    sheets[3].dataset.ImagePositionPatient = position
    save_all(sheets, folder)
    about = {"flags": {"missing_slices"}, "maybe": {"files_quarantined"}}
    volume = wanted(sheets[:3] + sheets[4:], 8, observed=7 / 8, **about)
    return Expectation((volume,), {"no_geometry|bad_element": 1})


@case("position not a number")
def nan_position(folder: Path) -> Expectation:
    return damaged_position(folder, ["nan", "0", "0"])


@case("position of two numbers")
def short_position(folder: Path) -> Expectation:
    return damaged_position(folder, ["1", "2"])


@case("positions in scientific notation")
def scientific(folder: Path) -> Expectation:
    sheets = small()
    for each in sheets:
        each.dataset.ImagePositionPatient = [f"{x:.6e}" for x in each.grid.position]
    save_all(sheets, folder)
    return one(sheets)


@case("thin slices, 0.05 mm apart")
def thin(folder: Path) -> Expectation:
    save_all(sheets := small(step=(0, 0, 0.05)), folder)
    return one(sheets)


@case("two slices far apart and thin")
def thin_pair(folder: Path) -> Expectation:
    save_all(sheets := small(2, step=(0, 0, 10), SliceThickness="2"), folder)
    return one(sheets)
