"""Further cases of values: pixel types, bits, rescale, padding, color."""

from pathlib import Path
from typing import Any

import numpy as np
from matrix import files
from matrix.case import Expectation, case, one, refused, wanted
from matrix.files import save_all
from matrix.multiframe import item
from matrix.phantom import SMALL, Grid, Sheet, linear, small, values_of
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRBigEndian

COLOR = "color"


def retyped(sheets: list[Sheet], dtype: str, intercept: float, **tags: Any) -> list[Sheet]:
    """The same values stored in another integer type."""
    for each in sheets:
        dataset = each.dataset
        pixels = np.round(values_of(each.grid) - intercept).astype(dtype)
        dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
        dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(dtype[1] == "i")
        dataset.RescaleIntercept = f"{intercept:g}"
        data = pixels.tobytes()
        dataset.PixelData = data + b"\0" * (len(data) % 2)
        dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
        for name, value in tags.items():
            setattr(dataset, name, value)
    return sheets


@case("unsigned 8 bit")
def eight_bits(folder: Path) -> Expectation:
    save_all(sheets := retyped(small(), "<u1", -80.0), folder)
    return one(sheets)


@case("signed 8 bit")
def eight_bits_signed(folder: Path) -> Expectation:
    save_all(sheets := retyped(small(), "<i1", 40.0), folder)
    return one(sheets)


@case("8 bit, odd number of pixels")
def odd_pixels(folder: Path) -> Expectation:
    save_all(sheets := retyped(small(grid=Grid(shape=(19, 23))), "<u1", -80.0), folder)
    return one(sheets)


@case("8 bit, big endian words")
def eight_bits_big(folder: Path) -> Expectation:
    sheets = retyped(small(), "<u1", -80.0)
    for each in sheets:
        files.swapped(each.dataset)
    save_all(sheets, folder, syntax=ExplicitVRBigEndian)
    return one(sheets)


@case("signed 32 bit")
def thirty_two_bits(folder: Path) -> Expectation:
    save_all(sheets := retyped(small(), "<i4", 0.0), folder)
    return one(sheets)


@case("unsigned 32 bit, large values")
def large_values(folder: Path) -> Expectation:
    sheets = retyped(small(), "<u4", -100000.0)
    save_all(sheets, folder)
    return one(sheets)


@case("signed, 10 bits stored")
def ten_bits(folder: Path) -> Expectation:
    sheets = retyped(small(), "<i2", 0.0, BitsStored=10, HighBit=9)
    for each in sheets:
        pixels = np.frombuffer(each.dataset.PixelData, "<u2")
        each.dataset.PixelData = (pixels & 0x03FF).tobytes()
    save_all(sheets, folder)
    return one(sheets)


@case("high 12 of 16 bits")
def high_bits(folder: Path) -> Expectation:
    sheets = retyped(small(), "<u2", -1024.0, BitsStored=12, HighBit=15)
    for each in sheets:
        pixels = np.frombuffer(each.dataset.PixelData, "<u2")
        each.dataset.PixelData = (pixels << 4).astype("<u2").tobytes()
    save_all(sheets, folder)
    return Expectation(one(sheets).volumes, instead=("bad_element",))


@case("BitsStored beyond BitsAllocated")
def too_many_bits(folder: Path) -> Expectation:
    save_all(small(BitsStored=20, HighBit=19), folder)
    return refused("bad_element", 8)


@case("PixelPaddingValue")
def padding(folder: Path) -> Expectation:
    def padded(lps: np.ndarray) -> np.ndarray:
        return np.where(lps[..., 0] < -26.5, -3024.0, linear(lps))

    save_all(sheets := small(field=padded, PixelPaddingValue=-2000), folder)
    return one(sheets, value=padded)


@case("mixed rescale")
def mixed_rescale(folder: Path) -> Expectation:
    odd, even = small(slope=0.5, intercept=10.0), small()
    save_all(sheets := [*even[::2], *odd[1::2]], folder)
    return one(sheets)


@case("no rescale")
def no_rescale(folder: Path) -> Expectation:
    save_all(sheets := small(intercept=0.0, RescaleSlope=None, RescaleIntercept=None), folder)
    return one(sheets)


@case("negative slope")
def negative_slope(folder: Path) -> Expectation:
    save_all(sheets := small(slope=-1.0, intercept=500.0), folder)
    return one(sheets)


@case("rescale not a number")
def nan_rescale(folder: Path) -> Expectation:
    save_all(small(RescaleSlope="nan"), folder)
    return refused("bad_element", 8)


@case("slope zero")
def zero_slope(folder: Path) -> Expectation:
    save_all(small(RescaleSlope="0"), folder)
    return refused("bad_element", 8)


@case("large intercept, beyond 16 bits")
def wide_values(folder: Path) -> Expectation:
    save_all(sheets := small(intercept=70000.0, dtype="<i4"), folder)
    return one(sheets)


@case("ModalityLUTSequence")
def lut(folder: Path) -> Expectation:
    table = np.arange(2048, dtype="<u2")[::-1]
    sequence = Items([item(LUTDescriptor=[2048, 0, 16], ModalityLUTType="US")])
    sequence[0].add_new(0x00283006, "OW", table.tobytes())
    save_all(
        small(dtype="<u2", RescaleSlope=None, RescaleIntercept=None, ModalityLUTSequence=sequence),
        folder,
    )
    return refused("unsupported_pixels", 8)


@case("window and presentation only")
def window(folder: Path) -> Expectation:
    tags = {"WindowCenter": "40", "WindowWidth": "80", "PresentationLUTShape": "INVERSE"}
    save_all(sheets := small(**tags), folder)
    return one(sheets)


def floating(folder: Path, name: str, bits: int, **options: Any) -> Expectation:
    """Float pixels, which have no PixelRepresentation (PS3.3, C.7.6.24)."""
    sheets = small(slope=0.001, dtype="<i4", intercept=0.0, **options)
    for each in sheets:
        dataset = each.dataset
        values = linear(each.grid.points) * 1000
        for gone in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            delattr(dataset, gone)
        dataset.BitsAllocated = bits
        setattr(dataset, name, values.astype(f"<f{bits // 8}").tobytes())
    save_all(sheets, folder)
    expected = one(sheets, tolerance=1e-2)
    return Expectation(expected.volumes, instead=("unsupported_pixels",))


@case("float pixel data")
def float_pixels(folder: Path) -> Expectation:
    return floating(folder, "FloatPixelData", 32)


@case("double float pixel data")
def double_pixels(folder: Path) -> Expectation:
    return floating(folder, "DoubleFloatPixelData", 64)


@case("float pixels with NaN")
def nan_pixels(folder: Path) -> Expectation:
    sheets = small(2, slope=0.001, dtype="<i4", intercept=0.0)
    for each in sheets:
        values = linear(each.grid.points) * 1000
        values[0, :] = np.nan
        for gone in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            delattr(each.dataset, gone)
        each.dataset.BitsAllocated = 32
        each.dataset.FloatPixelData = values.astype("<f4").tobytes()
    save_all(sheets, folder)
    return refused("nonfinite|unsupported_pixels|bad_element", 2)


def colored(folder: Path, interpretation: str, planar: int = 0, **tags: Any) -> Expectation:
    """Three samples a pixel: no volume, and never one channel of it."""
    sheets = small()
    for each in sheets:
        each.dataset.SamplesPerPixel, each.dataset.PlanarConfiguration = 3, planar
        each.dataset.PhotometricInterpretation = interpretation
        each.dataset.BitsAllocated = each.dataset.BitsStored = 8
        each.dataset.HighBit, each.dataset.PixelRepresentation = 7, 0
        each.dataset.PixelData = bytes(3 * each.grid.points[..., 0].size)
        for name, value in tags.items():
            setattr(each.dataset, name, value)
    save_all(sheets, folder)
    return refused(COLOR, 8, by_choice=True)


@case("RGB")
def rgb(folder: Path) -> Expectation:
    return colored(folder, "RGB")


@case("RGB by plane")
def rgb_planar(folder: Path) -> Expectation:
    return colored(folder, "RGB", planar=1)


@case("YBR_FULL")
def ybr(folder: Path) -> Expectation:
    return colored(folder, "YBR_FULL")


@case("palette color")
def palette(folder: Path) -> Expectation:
    save_all(retyped(small(), "<u1", -80.0, PhotometricInterpretation="PALETTE COLOR"), folder)
    return refused(COLOR, 8, by_choice=True)


@case("three samples called monochrome")
def lying_monochrome(folder: Path) -> Expectation:
    sheets = small()
    for each in sheets:
        each.dataset.SamplesPerPixel = 3
        each.dataset.PixelData = each.dataset.PixelData * 3
    save_all(sheets, folder)
    return refused("color|bad_element", 8)


@case("two slices in color in a gray series")
def partly_colored(folder: Path) -> Expectation:
    sheets, shots = small(), small(10)[8:]
    for each in shots:
        each.dataset.SamplesPerPixel, each.dataset.PlanarConfiguration = 3, 0
        each.dataset.PhotometricInterpretation = "RGB"
        each.dataset.BitsAllocated, each.dataset.BitsStored, each.dataset.HighBit = 8, 8, 7
        each.dataset.PixelRepresentation = 0
        each.dataset.PixelData = bytes(3 * SMALL.shape[0] * SMALL.shape[1])
    save_all([*sheets, *shots], folder)
    return Expectation((wanted(sheets, maybe={"files_quarantined"}),), {COLOR: 2})


@case("icon before the pixels")
def icon(folder: Path) -> Expectation:
    sheets = small()
    for each in sheets:
        small_one = Dataset()
        small_one.Rows = small_one.Columns = 4
        small_one.SamplesPerPixel, small_one.PhotometricInterpretation = 1, "MONOCHROME2"
        small_one.BitsAllocated, small_one.BitsStored, small_one.HighBit = 8, 8, 7
        small_one.PixelRepresentation, small_one.PixelData = 0, bytes(16)
        small_one["PixelData"].VR = "OB"
        each.dataset.IconImageSequence = Items([small_one])
    save_all(sheets, folder)
    return one(sheets)


@case("overlay in a plane of its own")
def overlay(folder: Path) -> Expectation:
    sheets = small()
    for each in sheets:
        each.dataset.add_new(0x60000010, "US", SMALL.shape[0])
        each.dataset.add_new(0x60000011, "US", SMALL.shape[1])
        each.dataset.add_new(0x60000040, "CS", "G")
        each.dataset.add_new(0x60000050, "SS", [1, 1])
        each.dataset.add_new(0x60000100, "US", 1)
        each.dataset.add_new(0x60000102, "US", 0)
        each.dataset.add_new(0x60003000, "OW", b"\xff" * (SMALL.shape[0] * SMALL.shape[1] // 8))
    save_all(sheets, folder)
    return one(sheets)
