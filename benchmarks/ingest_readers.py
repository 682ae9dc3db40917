"""Readers of DICOM folders under one interface: ours and its peers, at their default settings.

Each reader turns a folder into volumes (i, j, k) with a RAS+ affine; whatever it raises counts as
a refusal. Peers that only benchmarks need lie in .peers/ (see benchmarks/peers.txt).
"""

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from subprocess import DEVNULL, run

import nibabel
import numpy as np

PEERS = Path(__file__).parents[1] / ".peers"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

Volumes = list[tuple[np.ndarray, np.ndarray]]


class Refused(Exception):
    """A reader said no, in whole or in part; `volumes` are those it made all the same."""

    def __init__(self, volumes: Volumes) -> None:
        super().__init__("refused")
        self.volumes = volumes


def split(array: np.ndarray, affine: np.ndarray) -> Volumes:
    """The volumes of an array of three dimensions or more."""
    if array.ndim <= 3:
        return [(array.reshape(array.shape + (1,) * (3 - array.ndim)), affine)]
    return [pair for t in range(array.shape[3]) for pair in split(array[:, :, :, t], affine)]


def written(folder: Path) -> Volumes:
    """The volumes of every NIfTI file below a folder."""
    found: Volumes = []
    for path in sorted(folder.rglob("*.nii*")):
        image = nibabel.load(path)
        found += split(np.asanyarray(image.dataobj), image.affine)
    return found


def ours(folder: Path, out: Path) -> Volumes:
    from medsynth.core.keys import DEMO_KEYS
    from medsynth.core.manifest import Manifest, load_scan
    from medsynth.ingest.archive import ingest
    from medsynth.ingest.config import IngestConfig
    from medsynth.ingest.quarantine import read_quarantine

    config = IngestConfig(min_matrix=1, localizers=True)
    made = ingest(folder, out, DEMO_KEYS, config)
    scans = [load_scan(made.path, scan) for scan in Manifest.read(made.path)]
    found = [(np.array(scan.array[0]), np.array(scan.geometry.affine)) for scan in scans]
    if read_quarantine(made.path):
        raise Refused(found)
    return found


def dcm2niix(folder: Path, out: Path) -> Volumes:
    program = Path(sys.executable).parent / "dcm2niix"
    out.mkdir(parents=True, exist_ok=True)
    done = run([program, "-z", "n", "-o", out, folder], stdout=DEVNULL, stderr=DEVNULL, check=False)
    found = written(out)
    if done.returncode:
        raise Refused(found)
    return found


def dicom2nifti(folder: Path, out: Path) -> Volumes:
    sys.path.append(str(PEERS / "dicom2nifti"))
    import dicom2nifti

    out.mkdir(parents=True, exist_ok=True)
    dicom2nifti.convert_directory(str(folder), str(out), compression=False)
    return written(out)


def simpleitk(folder: Path, out: Path) -> Volumes:
    import SimpleITK

    found: Volumes = []
    reader = SimpleITK.ImageSeriesReader()
    for place in sorted({path.parent for path in folder.rglob("*") if path.is_file()}):
        for series in reader.GetGDCMSeriesIDs(str(place)):
            names = reader.GetGDCMSeriesFileNames(str(place), series)
            reader.SetFileNames(names)
            # The series reader knows no multi-frame file; the plain one does.
            image = SimpleITK.ReadImage(names[0]) if len(names) == 1 else reader.Execute()
            found.append(_from_itk(SimpleITK, image))
    return found


def _from_itk(library: object, image: object) -> tuple[np.ndarray, np.ndarray]:
    array = np.moveaxis(library.GetArrayFromImage(image), (0, 1, 2), (2, 1, 0))
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return array, LPS_TO_RAS @ affine


def monai(folder: Path, out: Path) -> Volumes:
    from monai.data import PydicomReader

    reader = PydicomReader()
    array, meta = reader.get_data(reader.read(str(folder)))
    return split(np.asarray(array), np.asarray(meta["affine"], float))


def highdicom(folder: Path, out: Path) -> Volumes:
    import highdicom

    found: Volumes = []
    for datasets in _by_series(folder).values():
        if "NumberOfFrames" in datasets[0]:
            volumes = [highdicom.Image.from_dataset(one).get_volume() for one in datasets]
        else:
            volumes = [highdicom.get_volume_from_series(datasets)]
        found += [(np.asarray(v.array), LPS_TO_RAS @ v.affine) for v in volumes]
    return found


def _by_series(folder: Path) -> dict[str, list[object]]:
    """What an application of highdicom does first: the images of each series that can be read."""
    known: dict[str, list[object]] = {}
    for dataset in _datasets(folder):
        if "PixelData" in dataset:
            known.setdefault(str(dataset.get("SeriesInstanceUID", "")), []).append(dataset)
    return known


def _datasets(folder: Path) -> Iterator[object]:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            yield dcmread(path)
        except (InvalidDicomError, EOFError):
            continue


READERS: dict[str, Callable[[Path, Path], Volumes]] = {
    "ours": ours,
    "dcm2niix": dcm2niix,
    "dicom2nifti": dicom2nifti,
    "SimpleITK": simpleitk,
    "MONAI": monai,
    "highdicom": highdicom,
}


def versions() -> dict[str, str]:
    """Name and version of every reader."""
    sys.path.append(str(PEERS / "dicom2nifti"))
    names = {"ours": "medsynth", "MONAI": "monai"}
    return {name: version(names.get(name, name)) for name in READERS}


def attempt(name: str, folder: Path, out: Path) -> tuple[Volumes, str]:
    """What a reader makes of a folder, and the kind of its refusal (empty: none); never raises."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    try:
        return READERS[name](folder, out), ""
    except Refused as refusal:
        return refusal.volumes, "refused"
    except (Exception, SystemExit) as error:
        return [], type(error).__name__
