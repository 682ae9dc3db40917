"""The 45 cases of reference/ingest.md, section 2, in its order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from matrix import files
from matrix.case import Expectation, case, of_grids, one, refused, wanted
from matrix.files import save, save_all, save_compressed
from matrix.multiframe import enhanced, frames_of, item, truth
from matrix.phantom import CORONAL, SAGITTAL, Grid, Sheet, series, sheet
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    RLELossless,
)

DIRECTIONS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.6, 0.8))


def rotation(about_z: float, about_x: float) -> np.ndarray:
    """Columns are the row, column and normal direction of a turned plane."""
    z, x = np.deg2rad([about_z, about_x])
    turn = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    tip = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    return turn @ tip


def oblique(**about: object) -> Grid:
    """The default plane turned by 15 degrees about z and 20 about x."""
    axes = rotation(15, 20)
    return Grid(orientation=(*axes[:, 0], *axes[:, 1]), **about)


@case("01 plain")
def plain(folder: Path) -> Expectation:
    save_all(sheets := series(), folder)
    return one(sheets)


@case("02 oblique")
def turned(folder: Path) -> Expectation:
    grid = oblique()
    save_all(sheets := series(step=2 * grid.normal, grid=grid), folder)
    return one(sheets)


@case("03 sagittal")
def sagittal(folder: Path) -> Expectation:
    save_all(sheets := series(step=(2, 0, 0), grid=Grid(orientation=SAGITTAL)), folder)
    return one(sheets)


@case("04 shuffled")
def shuffled(folder: Path) -> Expectation:
    sheets = series()
    for each in sheets:
        each.dataset.InstanceNumber = 100 - each.dataset.InstanceNumber
    save_all(sheets, folder, seed=4)
    return one(sheets)


@case("05 missing slice")
def missing(folder: Path) -> Expectation:
    sheets = series()
    del sheets[7]
    save_all(sheets, folder)
    return one(sheets, 20, flags={"missing_slices"}, observed=0.95)


@case("06 variable spacing")
def variable(folder: Path) -> Expectation:
    heights = [*np.arange(10) * 2.0, *(18 + 5.0 * np.arange(1, 11))]
    sheets = [sheet(Grid().moved((0, 0, height))) for height in heights]
    for number, each in enumerate(sheets):
        each.dataset.InstanceNumber = number + 1
    save_all(sheets, folder)
    return one(sheets, (20, 36), flags={"variable_spacing"}, observed=(0.3, 0.6))


@case("07 gantry tilt")
def tilt(folder: Path) -> Expectation:
    grid = Grid(orientation=(1, 0, 0, 0, np.cos(np.deg2rad(15)), np.sin(np.deg2rad(15))))
    save_all(sheets := series(grid=grid), folder)
    return one(sheets, flags={"sheared"}, acquisition={"ShearAngle": 15.0})


@case("08 localizer mixed in")
def localizer(folder: Path) -> Expectation:
    other = sheet(Grid(orientation=SAGITTAL, shape=(32, 40)), InstanceNumber=21)
    save_all([*(sheets := series()), other], folder)
    return Expectation((wanted(sheets), wanted([other], flags={"single_slice"})))


@case("09 duplicates")
def duplicates(folder: Path) -> Expectation:
    save_all(sheets := series(), folder)
    for number in (5, 11):
        (folder / f"COPY{number}").write_bytes((folder / f"IM{number:04d}").read_bytes())
    volume = wanted(sheets, 20, flags={"duplicates_dropped"})
    return Expectation((volume,), {"duplicate": 2})


@case("10 re-sent slices")
def resent(folder: Path) -> Expectation:
    again = [series()[k] for k in (5, 11)]
    for number, each in enumerate(again):
        each.dataset.InstanceNumber = 21 + number
    save_all([*(sheets := series()), *again], folder)
    volume = wanted([*sheets, *again], 20, flags={"duplicates_dropped"})
    return Expectation((volume,), {"duplicate": 2})


def unsigned(count: int = 20, junk: int = 0, **tags: object) -> list[Sheet]:
    """12 of 16 bits, unsigned, with `junk` above them."""
    sheets = series(count, dtype="<u2", BitsStored=12, HighBit=11, **tags)
    for each in sheets:
        pixels = np.frombuffer(each.dataset.PixelData, "<u2")
        each.dataset.PixelData = (pixels | junk).astype("<u2").tobytes()
    return sheets


@case("11 MONOCHROME1")
def inverted(folder: Path) -> Expectation:
    save_all(sheets := unsigned(PhotometricInterpretation="MONOCHROME1"), folder)
    return one(sheets, flags={"monochrome1"})


@case("12 unsigned 12 bit")
def twelve_bits(folder: Path) -> Expectation:
    save_all(sheets := unsigned(), folder)
    return one(sheets)


@case("13 non-square pixels")
def oblong(folder: Path) -> Expectation:
    save_all(sheets := series(grid=Grid(spacing=(0.5, 1.25))), folder)
    return one(sheets)


@case("14 big endian")
def big_endian(folder: Path) -> Expectation:
    sheets = series()
    for each in sheets:
        files.swapped(each.dataset)
    save_all(sheets, folder, syntax=ExplicitVRBigEndian)
    return one(sheets)


@case("15 no preamble")
def no_preamble(folder: Path) -> Expectation:
    folder.mkdir(parents=True, exist_ok=True)
    for number, each in enumerate(sheets := series()):
        each.dataset.save_as(folder / f"{number}", implicit_vr=True, little_endian=True)
    return one(sheets)


def compressed(folder: Path, syntax: str, **options: object) -> Expectation:
    """The default series under a lossless syntax."""
    save_compressed(sheets := series(**options), folder, syntax)
    return one(sheets)


@case("16 JPEG-LS")
def jpeg_ls(folder: Path) -> Expectation:
    return compressed(folder, files.JPEGLS)


@case("17 JPEG 2000")
def jpeg_2000(folder: Path) -> Expectation:
    return compressed(folder, files.J2K_LOSSLESS)


@case("18 RLE")
def rle(folder: Path) -> Expectation:
    return compressed(folder, RLELossless)


@case("19 deflated")
def deflated(folder: Path) -> Expectation:
    save_all(sheets := series(), folder, syntax=DeflatedExplicitVRLittleEndian)
    return one(sheets)


@case("20 PET slopes")
def pet(folder: Path) -> Expectation:
    step, sheets = np.array([0.0, 0.0, 2.0]), []
    for k in range(20):
        scale = {"slope": 0.05 * (k + 1), "intercept": 0.0}
        sheets.append(
            sheet(
                Grid().moved(step * k), **scale, Modality="PT", Units="BQML", InstanceNumber=k + 1
            )
        )
    for each in sheets:
        each.dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
    save_all(sheets, folder)
    return one(sheets, acquisition={"Units": "BQML"})


def stacks(
    folder: Path, about: list[dict[str, object]], names: tuple[str, ...] = ()
) -> Expectation:
    """One MR series of several volumes, each with a constant of its own.

    `names` are the elements that the acquisition of each volume must repeat as numbers.
    """
    volumes, every = [], []
    for number, tags in enumerate(about):
        told = {name: tags[name] for name in names if name in tags}
        told = {n: float(v) if isinstance(v, str) else v for n, v in told.items()}
        sheets = series(
            first=1 + 20 * number,
            constant=1000.0 * (number + 1),
            intercept=0.0,
            Modality="MR",
            **{"RepetitionTime": "2000", "EchoTime": "5", **tags},
        )
        every += sheets
        volumes.append(wanted(sheets, acquisition=told))
    save_all(every, folder)
    return Expectation(tuple(volumes))


@case("21 multi-echo MR")
def echoes(folder: Path) -> Expectation:
    about = [{"EchoTime": str(10 * n), "EchoNumbers": n} for n in (1, 2, 3)]
    return stacks(folder, about, ("EchoTime",))


@case("22 4D MR")
def phases(folder: Path) -> Expectation:
    about = [
        {
            "TemporalPositionIdentifier": n,
            "NumberOfTemporalPositions": 4,
            "AcquisitionTime": f"10000{n}",
        }
        for n in (1, 2, 3, 4)
    ]
    volumes = stacks(folder, about).volumes
    told = [{"TemporalPositionIndex": n} for n in (1, 2, 3, 4)]
    return Expectation(tuple(replace(v, acquisition=t) for v, t in zip(volumes, told, strict=True)))


@case("23 DWI")
def dwi(folder: Path) -> Expectation:
    about: list[dict[str, object]] = [{"DiffusionBValue": 0.0}]
    about += [
        {"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": list(d)} for d in DIRECTIONS
    ]
    return stacks(folder, about, ("DiffusionBValue", "DiffusionGradientOrientation"))


@case("24 truncated file")
def truncated(folder: Path) -> Expectation:
    sheets = series()
    for number, each in enumerate(sheets):
        save(each.dataset, folder / f"{number:02d}")
    data = (folder / "11").read_bytes()
    (folder / "11").write_bytes(data[: len(data) // 2])
    del sheets[11]
    flags = {"missing_slices", "files_quarantined"}
    return Expectation((wanted(sheets, 20, flags=flags, observed=0.95),), {"truncated": 1})


@case("25 garbage")
def garbage(folder: Path) -> Expectation:
    save_all(sheets := series(), folder)
    (folder / "notes.txt").write_text("The scanner was serviced on a Monday.\n" * 40)
    (folder / "noise").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "nothing").write_bytes(b"")
    return Expectation((wanted(sheets),), {"empty": 1, "not_an_image|not_dicom": 2})


@case("26 two series")
def two_series(folder: Path) -> Expectation:
    other = series(
        15, step=(0, 0, 3.0), grid=Grid((-25.0, -15.0, 5.0)), SeriesInstanceUID="1.2.3.9"
    )
    for each in other:
        each.dataset.SeriesNumber = 2
    save_all([*(sheets := series()), *other], folder)
    return Expectation((wanted(sheets), wanted(other)))


@case("27 enhanced CT")
def enhanced_ct(folder: Path) -> Expectation:
    frames = frames_of(20, grid=Grid())
    save(dataset := enhanced(frames), folder / "image")
    return Expectation((of_grids(truth(dataset, frames)),))


@case("28 enhanced, shuffled")
def enhanced_shuffled(folder: Path) -> Expectation:
    order = np.random.default_rng(3).permutation(20)
    frames = [frames_of(20, grid=Grid())[k] for k in order]
    save(dataset := enhanced(frames), folder / "image")
    return Expectation((of_grids(truth(dataset, frames)),))


@case("29 enhanced, gap")
def enhanced_gap(folder: Path) -> Expectation:
    frames = frames_of(20, grid=Grid())
    del frames[7]
    save(dataset := enhanced(frames), folder / "image")
    volume = of_grids(truth(dataset, frames), 20, flags={"missing_slices"}, observed=0.95)
    return Expectation((volume,))


@case("30 position jitter")
def jitter(folder: Path) -> Expectation:
    sheets = [
        sheet(Grid().moved((0, 0, 2 * k + 0.004 * (k % 2))), InstanceNumber=k + 1)
        for k in range(20)
    ]
    save_all(sheets, folder)
    return one(sheets)


@case("31 IOP jitter")
def turned_by_a_hair(folder: Path) -> Expectation:
    sheets = series()
    for k, each in enumerate(sheets):
        each.dataset.ImageOrientationPatient = ["1", f"{1e-5 * (k % 2):.10g}", "0", "0", "1", "0"]
    save_all(sheets, folder)
    return one(sheets)


@case("32 overlap")
def overlap(folder: Path) -> Expectation:
    save_all(sheets := series(SliceThickness="5"), folder)
    return one(sheets)


@case("33 fractional slope")
def fractional(folder: Path) -> Expectation:
    save_all(sheets := series(slope=0.25, intercept=-100.0), folder)
    return one(sheets)


@case("34 single slice")
def single(folder: Path) -> Expectation:
    save_all(sheets := series(1), folder)
    return one(sheets, flags={"single_slice"})


@case("35 two slices")
def two(folder: Path) -> Expectation:
    save_all(sheets := series(2), folder)
    return one(sheets)


@case("36 junk high bits")
def junk(folder: Path) -> Expectation:
    save_all(sheets := unsigned(junk=0xA000), folder)
    return one(sheets)


@case("37 localizer, same size")
def equal_localizer(folder: Path) -> Expectation:
    other = sheet(Grid(orientation=SAGITTAL), InstanceNumber=21)
    save_all([*(sheets := series()), other], folder)
    return Expectation((wanted(sheets), wanted([other], flags={"single_slice"})))


@case("38 three-plane localizer")
def three_planes(folder: Path) -> Expectation:
    axial = series(5, step=(0, 0, 6))
    coronal = series(5, step=(0, 6, 0), grid=Grid(orientation=CORONAL), first=6)
    sagittal_ = series(5, step=(6, 0, 0), grid=Grid(orientation=SAGITTAL), first=11)
    every = [*axial, *coronal, *sagittal_]
    for each in every:
        each.dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    save_all(every, folder)
    return Expectation((wanted(axial), wanted(coronal), wanted(sagittal_)))


@case("39 JPEG lossless")
def jpeg_lossless(folder: Path) -> Expectation:
    return compressed(folder, files.LOSSLESS_SV1)


@case("40 DICOMDIR")
def dicomdir(folder: Path) -> Expectation:
    save_all(sheets := series(), folder)
    directory = Dataset()
    directory.SOPClassUID, directory.SOPInstanceUID = "1.2.840.10008.1.3.10", "1.2.3.4.5"
    names = sorted(path.name for path in folder.iterdir())
    directory.DirectoryRecordSequence = Items(
        [item(DirectoryRecordType="IMAGE", ReferencedFileID=[name]) for name in names]
    )
    save(directory, folder / "DICOMDIR")
    return Expectation((wanted(sheets),), {"not_an_image": 1})


@case("41 same InstanceNumber")
def same_number(folder: Path) -> Expectation:
    sheets = series()
    for each in sheets:
        each.dataset.InstanceNumber = 1
    save_all(sheets, folder)
    return one(sheets)


@case("42 no InstanceNumber")
def no_number(folder: Path) -> Expectation:
    sheets = series()
    for each in sheets:
        del each.dataset.InstanceNumber
    save_all(sheets, folder)
    return one(sheets)


@case("43 in-plane drift")
def drift(folder: Path) -> Expectation:
    save_all(sheets := series(step=(0.4, 0, 2)), folder)
    angle = float(np.rad2deg(np.arctan2(0.4, 2)))
    return one(sheets, flags={"sheared"}, acquisition={"ShearAngle": angle})


@case("44 PixelSpacing changes")
def wider(folder: Path) -> Expectation:
    near = series()[:10]
    far = series(grid=Grid(spacing=(2.0, 2.0)))[10:]
    save_all([*near, *far], folder)
    return Expectation((wanted(near), wanted(far)))


@case("45 no geometry")
def no_geometry(folder: Path) -> Expectation:
    save_all(series(ImagePositionPatient=None, ImageOrientationPatient=None), folder)
    return refused("no_geometry", 20)
