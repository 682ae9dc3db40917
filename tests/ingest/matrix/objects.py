"""Further cases of what a file is: projections, captures, objects without pixels, identities."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from matrix.case import Expectation, case, one, refused, wanted
from matrix.files import save, save_all
from matrix.multiframe import item
from matrix.phantom import Grid, Sheet, identify, put_pixels, sheet, small
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

FLAT = Grid(position=(0.0, 0.0, 0.0), spacing=(0.2, 0.3), shape=(40, 32))
"""A detector's plane, laid where the convention of ingest lays it."""


def projection(modality: str, storage: str, **tags: Any) -> Sheet:
    """One image that knows its detector and no patient."""
    each = sheet(FLAT, Modality=modality, SOPClassUID=storage, intercept=0.0, dtype="<u2", **tags)
    dataset = each.dataset
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.SliceThickness
    dataset.ImagerPixelSpacing = dataset.PixelSpacing
    return each


def detector(folder: Path, sheets: list[Sheet], **about: Any) -> Expectation:
    save_all(sheets, folder)
    options = {"flags": {"detector_plane"} | about.pop("flags", set()), "maybe": {"single_slice"}}
    return Expectation(tuple(wanted([each], **options) for each in sheets), by_choice=True)


@case("CR with ImagerPixelSpacing")
def cr(folder: Path) -> Expectation:
    each = projection("CR", "1.2.840.10008.5.1.4.1.1.1")
    del each.dataset.PixelSpacing
    return detector(folder, [each])


@case("DX, inverted")
def dx(folder: Path) -> Expectation:
    inverted = {
        "PhotometricInterpretation": "MONOCHROME1",
        "PresentationIntentType": "FOR PRESENTATION",
    }
    each = projection("DX", "1.2.840.10008.5.1.4.1.1.1.1", **inverted)
    return detector(folder, [each], flags={"monochrome1"})


@case("DX, two views in one series")
def two_views(folder: Path) -> Expectation:
    storage = "1.2.840.10008.5.1.4.1.1.1.1"
    return detector(
        folder,
        [
            projection("DX", storage, constant=c, ViewPosition=v)
            for c, v in ((0.0, "PA"), (300.0, "LL"))
        ],
    )


@case("MG")
def mg(folder: Path) -> Expectation:
    each = projection("MG", "1.2.840.10008.5.1.4.1.1.1.2")
    del each.dataset.PixelSpacing
    return detector(folder, [each])


def without_geometry(each: Sheet) -> Dataset:
    """The same image, lying nowhere."""
    del each.dataset.ImagePositionPatient, each.dataset.ImageOrientationPatient
    return each.dataset


@case("NM without geometry")
def nm(folder: Path) -> Expectation:
    dataset = without_geometry(small(1, Modality="NM", SOPClassUID="1.2.840.10008.5.1.4.1.1.20")[0])
    save(dataset, folder / "image")
    return refused("no_geometry", 1)


@case("NM, multi-frame, without geometry")
def nm_frames(folder: Path) -> Expectation:
    dataset = without_geometry(small(1, Modality="NM", SOPClassUID="1.2.840.10008.5.1.4.1.1.20")[0])
    dataset.NumberOfFrames, dataset.PixelData = 4, dataset.PixelData * 4
    save(dataset, folder / "image")
    return refused("no_geometry|multi_frame", 1)


@case("MR without geometry")
def mr(folder: Path) -> Expectation:
    for number, each in enumerate(small(4, Modality="MR")):
        save(without_geometry(each), folder / f"{number}")
    return refused("no_geometry", 4)


@case("secondary capture")
def capture(folder: Path) -> Expectation:
    dataset = small(1, SOPClassUID="1.2.840.10008.5.1.4.1.1.7", ConversionType="WSD")[0].dataset
    save(dataset, folder / "image")
    return refused("secondary_capture", 1, by_choice=True)


@case("secondary capture, multi-frame")
def captures(folder: Path) -> Expectation:
    dataset = small(1, SOPClassUID="1.2.840.10008.5.1.4.1.1.7.3")[0].dataset
    dataset.NumberOfFrames, dataset.PixelData = 3, dataset.PixelData * 3
    save(dataset, folder / "image")
    return refused("secondary_capture", 1, by_choice=True)


@case("screen save in a CT series")
def screen_save(folder: Path) -> Expectation:
    shot = sheet(
        Grid(position=(-30, -20, 40), shape=(20, 24)),
        ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"],
    )
    save_all([*(sheets := small()), shot], folder)
    return Expectation(
        (wanted(sheets, maybe={"files_quarantined"}),), {"secondary_capture": 1}, by_choice=True
    )


@case("burned-in annotation")
def annotated(folder: Path) -> Expectation:
    save_all(small(BurnedInAnnotation="YES"), folder)
    return refused("burned_in_text", 8, by_choice=True)


@case("ultrasound with regions")
def ultrasound(folder: Path) -> Expectation:
    dataset = without_geometry(
        small(1, Modality="US", SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1")[0]
    )
    places = {"MinX0": 0, "MinY0": 0, "MaxX1": 23, "MaxY1": 19}
    region = item(
        RegionSpatialFormat=1,
        RegionDataType=1,
        RegionFlags=0,
        **{f"RegionLocation{name}": number for name, number in places.items()},
        **{f"PhysicalUnits{axis}Direction": 3 for axis in "XY"},
        **{f"PhysicalDelta{axis}": 0.01 for axis in "XY"},
    )
    dataset.SequenceOfUltrasoundRegions = Items([region])
    save(dataset, folder / "image")
    return refused("unsupported_modality", 1, by_choice=True)


@case("ultrasound cine in color")
def ultrasound_cine(folder: Path) -> Expectation:
    dataset = without_geometry(
        small(1, Modality="US", SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1")[0]
    )
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    dataset.PlanarConfiguration, dataset.NumberOfFrames = 0, 2
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation, dataset.PixelData = 0, bytes(2 * 3 * 20 * 24)
    save(dataset, folder / "image")
    return refused("color|unsupported_modality", 1, by_choice=True)


@case("angiography")
def angiography(folder: Path) -> Expectation:
    dataset = without_geometry(
        small(1, Modality="XA", SOPClassUID="1.2.840.10008.5.1.4.1.1.12.1")[0]
    )
    dataset.NumberOfFrames, dataset.PixelData = 4, dataset.PixelData * 4
    save(dataset, folder / "image")
    return refused("unsupported_modality", 1, by_choice=True)


@case("segmentation")
def segmentation(folder: Path) -> Expectation:
    dataset = Dataset()
    identify(dataset, "SEG", "1.2.840.10008.5.1.4.1.1.66.4")
    put_pixels(dataset, np.zeros((4, 16, 2), "<u1"))
    dataset.Rows = dataset.Columns = 16
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0
    dataset.NumberOfFrames, dataset.SegmentationType = 4, "BINARY"
    save(dataset, folder / "image")
    return refused("unsupported_modality", 1, by_choice=True)


@case("segmentation that calls itself MR")
def bit_pixels(folder: Path) -> Expectation:
    sheets = small()
    for each in sheets:
        each.dataset.BitsAllocated, each.dataset.BitsStored, each.dataset.HighBit = 1, 1, 0
        each.dataset.PixelRepresentation = 0
        each.dataset.PixelData = bytes(20 * 24 // 8)
    save_all(sheets, folder)
    return refused("unsupported_pixels|bad_element", 8)


@case("RTDOSE")
def dose(folder: Path) -> Expectation:
    dataset = small(1, Modality="RTDOSE", SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2")[0].dataset
    dataset.NumberOfFrames, dataset.PixelData = 3, dataset.PixelData * 3
    dataset.GridFrameOffsetVector, dataset.DoseGridScaling = ["0", "2", "4"], "0.001"
    save(dataset, folder / "image")
    return refused("unsupported_modality", 1, by_choice=True)


def without_pixels(folder: Path, modality: str, storage: str, **tags: Any) -> Expectation:
    """An object that is no image, beside a series that stays whole."""
    dataset = Dataset()
    identify(dataset, modality, storage)
    del dataset.ImageType
    for name, value in tags.items():
        setattr(dataset, name, value)
    save(dataset, folder / "object")
    save_all(sheets := small(), folder)
    return Expectation((wanted(sheets),), {"not_an_image": 1})


@case("RTSTRUCT")
def structures(folder: Path) -> Expectation:
    contour = item(
        ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=1, ContourData=["1", "2", "3"]
    )
    roi = Items([item(ReferencedROINumber=1, ContourSequence=Items([contour]))])
    return without_pixels(
        folder, "RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.3", ROIContourSequence=roi
    )


@case("structured report")
def report(folder: Path) -> Expectation:
    return without_pixels(folder, "SR", "1.2.840.10008.5.1.4.1.1.88.33", ValueType="CONTAINER")


@case("presentation state")
def presentation(folder: Path) -> Expectation:
    return without_pixels(folder, "PR", "1.2.840.10008.5.1.4.1.1.11.1", ContentLabel="GSPS")


@case("encapsulated PDF")
def pdf(folder: Path) -> Expectation:
    document = {
        "MIMETypeOfEncapsulatedDocument": "application/pdf",
        "EncapsulatedDocument": b"%PDF-1.4" * 4,
    }
    return without_pixels(folder, "DOC", "1.2.840.10008.5.1.4.1.1.104.1", **document)


@case("waveform")
def waveform(folder: Path) -> Expectation:
    channel = item(
        NumberOfWaveformChannels=1,
        NumberOfWaveformSamples=8,
        SamplingFrequency="100",
        WaveformBitsAllocated=16,
        WaveformSampleInterpretation="SS",
    )
    channel.add_new(0x54001010, "OW", bytes(16))
    return without_pixels(
        folder, "ECG", "1.2.840.10008.5.1.4.1.1.9.1.1", WaveformSequence=Items([channel])
    )


@case("key object selection")
def key_objects(folder: Path) -> Expectation:
    return without_pixels(folder, "KO", "1.2.840.10008.5.1.4.1.1.88.59", ValueType="CONTAINER")


@case("CT without pixels")
def no_pixels(folder: Path) -> Expectation:
    sheets = small()
    del sheets[3].dataset.PixelData
    save_all(sheets, folder)
    about = {"flags": {"missing_slices"}, "maybe": {"files_quarantined"}, "observed": 7 / 8}
    return Expectation(
        (wanted(sheets[:3] + sheets[4:], 8, **about),), {"not_an_image|truncated": 1}
    )


@case("DICOMDIR that points outside")
def traversal(folder: Path) -> Expectation:
    save_all(sheets := small(), folder)
    directory = Dataset()
    directory.SOPClassUID = "1.2.840.10008.1.3.10"
    directory.SOPInstanceUID = "1.2.3.4.5"
    record = item(DirectoryRecordType="IMAGE", ReferencedFileID=["..", "..", "..", "etc", "passwd"])
    directory.DirectoryRecordSequence = Items([record])
    save(directory, folder / "SUB" / "DICOMDIR")
    return Expectation((wanted(sheets),), {"not_an_image": 1})


@case("two patients, one SeriesInstanceUID")
def two_patients(folder: Path) -> Expectation:
    other = small(constant=500.0, PatientID="P2", PatientName="Roe^Jim")
    save_all([*(sheets := small()), *other], folder)
    return Expectation((wanted(sheets), wanted(other)))


@case("the same series in two folders")
def twice(folder: Path) -> Expectation:
    save_all(sheets := small(), folder / "first")
    shutil.copytree(folder / "first", folder / "second")
    return Expectation((wanted(sheets, flags={"duplicates_dropped"}),), {"duplicate": 8})


@case("one series over two folders")
def parted(folder: Path) -> Expectation:
    sheets = small()
    save_all(sheets[:4], folder / "first")
    save_all(sheets[4:], folder / "second")
    return one(sheets)


@case("missing SOP instance")
def nameless(folder: Path) -> Expectation:
    sheets = small()
    del sheets[3].dataset.SOPInstanceUID
    save_all(sheets, folder)
    about = {"flags": {"missing_slices"}, "maybe": {"files_quarantined"}, "observed": 7 / 8}
    return Expectation((wanted(sheets[:3] + sheets[4:], 8, **about),), {"bad_element": 1})


@case("one SOP instance for all")
def one_name(folder: Path) -> Expectation:
    save_all(sheets := small(SOPInstanceUID="1.2.3.4.5.6"), folder)
    return Expectation(one(sheets).volumes, instead=("duplicate_conflict", "bad_element"))


@case("no patient")
def nobody(folder: Path) -> Expectation:
    save_all(small(PatientID=""), folder)
    return refused("no_subject", 8, by_choice=True)


@case("no series")
def no_series(folder: Path) -> Expectation:
    save_all(small(SeriesInstanceUID=""), folder)
    return refused("bad_element", 8, by_choice=True)


@case("names that say other formats")
def misnamed(folder: Path) -> Expectation:
    sheets = small(4)
    for each, name in zip(sheets, ("a.png", "b.nii", "c.txt", "d.dcm.bak"), strict=True):
        save(each.dataset, folder / name)
    return one(sheets)


@case("deep folders and odd names")
def deep(folder: Path) -> Expectation:
    sheets = small(4)
    for number, each in enumerate(sheets):
        save(each.dataset, folder / "a b" / "ü" / f"{number}" / "x.y" / f"IM {number}.dcm")
    return one(sheets)


@case("a link to a slice")
def link(folder: Path) -> Expectation:
    save_all(sheets := small(), folder)
    (folder / "link").symlink_to(next(iter(sorted(folder.iterdir()))))
    return one(sheets)
