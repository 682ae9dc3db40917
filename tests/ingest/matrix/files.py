"""Sheets as files: transfer syntaxes, names, and what may be wrong with the bytes."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import imagecodecs
import numpy as np
from matrix.phantom import Sheet
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

Encode = Callable[[np.ndarray], bytes]

BASELINE, EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
LOSSLESS_P14, LOSSLESS_SV1 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
JPEGLS, JPEGLS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
J2K_LOSSLESS, J2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS, HTJ2K = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.203"


def _lossless(predictor: int) -> Encode:
    return lambda pixels: imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=predictor)


ENCODE: dict[str, Encode] = {
    BASELINE: lambda pixels: imagecodecs.jpeg8_encode(pixels, level=95),
    EXTENDED: lambda pixels: imagecodecs.jpeg8_encode(pixels, level=98, bitspersample=12),
    LOSSLESS_P14: _lossless(6),
    LOSSLESS_SV1: _lossless(1),
    JPEGLS: lambda pixels: imagecodecs.jpegls_encode(pixels),
    JPEGLS_NEAR: lambda pixels: imagecodecs.jpegls_encode(pixels, level=2),
    J2K_LOSSLESS: lambda pixels: imagecodecs.jpeg2k_encode(
        pixels, codecformat="j2k", reversible=True
    ),
    J2K: lambda pixels: imagecodecs.jpeg2k_encode(
        pixels, level=90, codecformat="j2k", reversible=False
    ),
    HTJ2K_LOSSLESS: lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True),
    HTJ2K: lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=False),
}


def save(dataset: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write one DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "1.2")
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "") or "1.2.3"
    meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_all(
    sheets: Iterable[Sheet], folder: Path, *, syntax: str = ExplicitVRLittleEndian, seed: int = 0
) -> Path:
    """Write images under names that say nothing of their order."""
    known = list(sheets)
    for name, one in zip(np.random.default_rng(seed).permutation(len(known)), known, strict=True):
        save(one.dataset, folder / f"IM{name:04d}", syntax)
    return folder


def pixels_of(dataset: Dataset) -> np.ndarray:
    """Native little-endian integer pixels (frames, rows, columns)."""
    kind = "i" if dataset.PixelRepresentation else "u"
    shape = (int(dataset.get("NumberOfFrames", 1)), dataset.Rows, dataset.Columns)
    flat = np.frombuffer(dataset.PixelData, f"<{kind}{dataset.BitsAllocated // 8}")
    return flat[: np.prod(shape)].reshape(shape)


def encapsulated(
    dataset: Dataset, fragments: Sequence[bytes], *, has_table: bool = True
) -> Dataset:
    """The same image with these compressed frames."""
    dataset.PixelData = encapsulate(list(fragments), has_bot=has_table)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def compress(dataset: Dataset, syntax: str) -> Dataset:
    """The same image under a compressed transfer syntax."""
    if syntax == RLELossless:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(RLELossless, generate_instance_uid=False)
        return dataset
    frames = pixels_of(dataset)
    unsigned = frames.view(frames.dtype.str.replace("i", "u"))
    # JPEG and JPEG-LS know no sign: the bits travel as they are (PS3.5, 8.2.1 and 8.2.3).
    plain = unsigned if syntax in (LOSSLESS_P14, LOSSLESS_SV1, JPEGLS) else frames
    return encapsulated(dataset, [ENCODE[syntax](np.ascontiguousarray(frame)) for frame in plain])


def save_compressed(sheets: Iterable[Sheet], folder: Path, syntax: str) -> Path:
    """Write images under a compressed transfer syntax."""
    known = list(sheets)
    for one in known:
        compress(one.dataset, syntax)
    return save_all(known, folder, syntax=syntax)


def swapped(dataset: Dataset) -> Dataset:
    """The same image with the bytes of its pixels for a big-endian file."""
    size = dataset.BitsAllocated // 8
    data = dataset.PixelData
    # OW is a string of 16-bit words, whatever the pixels are (PS3.5, 8.1.1).
    word = max(size, 2)
    dataset.PixelData = np.frombuffer(data, f"<u{word}").byteswap().tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset
