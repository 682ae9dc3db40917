"""How fast a series comes from an archive over loopback: WADO-RS, C-GET and C-MOVE, spool and all.

    unshare -rn .venv/bin/python benchmarks/pacs.py [--slices 200] [--rounds 3]

Starts Debian's Orthanc, which binds every interface: so this refuses to run where there is more
than a loopback. Peers in the same run: dicomweb-client's iter_series (parsed, thrown away and
written to files) and dcmtk's getscu, which keep no ledger and make nothing durable.
"""

import argparse
import fcntl
import json
import os
import platform
import shutil
import socket
import statistics
import struct
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medsynth.core.keys import DEMO_KEYS
from medsynth.ingest.pacs.address import parse_address
from medsynth.ingest.pacs.config import PacsConfig
from medsynth.ingest.pacs.connect import connected
from medsynth.ingest.pacs.credentials import Credentials
from medsynth.ingest.pacs.retrieve import retrieve
from medsynth.ingest.pacs.spool import open_spool

HTTP, DICOM, RECEIVER = 8042, 4242, 11112
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
WEB, DIMSE = f"dicomweb://127.0.0.1:{HTTP}/dicom-web", f"dimse://ORTHANC@127.0.0.1:{DICOM}"
STUDY, SERIES = "1.2.3", "1.2.3.4"


def bring_loopback_up() -> None:
    interfaces = {name for _, name in socket.if_nameindex()}
    if interfaces != {"lo"}:
        raise SystemExit("run me inside `unshare -rn`: Orthanc would be reachable from outside")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def start_orthanc(folder: Path) -> "subprocess.Popen[bytes]":
    config = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [PLUGIN],
        "HttpPort": HTTP,
        "DicomPort": DICOM,
        "DicomAet": "ORTHANC",
        "DicomModalities": {"medsynth": ["MEDSYNTH", "127.0.0.1", RECEIVER]},
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowFind": True,
        "AuthenticationEnabled": False,
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    log = (folder / "orthanc.log").open("wb")
    orthanc = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    process = subprocess.Popen([orthanc, str(folder / "orthanc.json")], stdout=log, stderr=log)
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{HTTP}/system", timeout=5)
            return process
        except OSError:
            time.sleep(0.1)


def fill(slices: int) -> None:
    """Slices of 512 x 512 x 2 bytes = 0.5 MB."""
    rng = np.random.default_rng(0)
    for number in range(slices):
        body = encoded(make_slice(number, rng))
        request = urllib.request.Request(f"http://127.0.0.1:{HTTP}/instances", body)
        urllib.request.urlopen(request, timeout=30).read()


def make_slice(number: int, rng: np.random.Generator) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"{SERIES}.{number + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    dataset.PatientID, dataset.PatientName, dataset.Modality = "P", "Bench^Mark", "CT"
    dataset.StudyDate, dataset.InstanceNumber = "20240101", number + 1
    dataset.Rows = dataset.Columns = 512
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = rng.integers(0, 4000, (512, 512), np.uint16).tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def encoded(dataset: Dataset) -> bytes:
    with tempfile.TemporaryFile() as file:
        dataset.save_as(file, enforce_file_format=True)
        file.seek(0)
        return file.read()


def ours(folder: Path, address: str, slices: int, **changes: Any) -> None:
    """Listing, retrieval, fsync, ledger and publishing; a fresh spool."""
    config = PacsConfig(settle_polls=1, quiet_seconds=0.0, wait_seconds=0.0, **changes)
    with (
        open_spool(folder, DEMO_KEYS) as spool,
        connected(parse_address(address), Credentials(), config) as peer,
    ):
        done = retrieve(peer, spool, config)
    assert done.num_instances == slices, done


def unchanged(folder: Path, address: str) -> None:
    """A poll of an archive of which everything is there."""
    config = PacsConfig(settle_polls=1, quiet_seconds=0.0, wait_seconds=0.0)
    with (
        open_spool(folder, DEMO_KEYS) as spool,
        connected(parse_address(address), Credentials(), config) as peer,
    ):
        assert retrieve(peer, spool, config).num_instances == 0


def iterated(folder: Path | None) -> None:
    """dicomweb-client: parsed datasets, written again where there is a folder."""
    client = DICOMwebClient(f"http://127.0.0.1:{HTTP}/dicom-web")
    media = (("application/dicom", "*"),)
    for number, dataset in enumerate(client.iter_series(STUDY, SERIES, media_types=media)):
        if folder is not None:
            dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)


def getscu(folder: Path) -> None:
    keys = ["-k", "0008,0052=SERIES", "-k", f"0020,000D={STUDY}", "-k", f"0020,000E={SERIES}"]
    place = ["-aec", "ORTHANC", "127.0.0.1", str(DICOM)]
    subprocess.run(["/usr/bin/getscu", "-S", *keys, "-od", str(folder), *place], check=True)


def timed(rounds: int, folder: Path, work: Callable[[Path], object]) -> list[float]:
    times = []
    for number in range(rounds):
        place = folder / f"round-{number}"
        place.mkdir()
        begin = time.perf_counter()
        work(place)
        times.append(time.perf_counter() - begin)
        shutil.rmtree(place)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    bring_loopback_up()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        orthanc = start_orthanc(folder)
        try:
            fill(given.slices)
            report(measure(folder, given.slices, given.rounds))
        finally:
            orthanc.terminate()
            orthanc.wait(20)


def measure(folder: Path, slices: int, rounds: int) -> dict[str, list[float]]:
    kept = folder / "kept"
    ours(kept, WEB, slices)
    move = {"dimse_retrieve": "move", "listen_port": RECEIVER}
    ways: dict[str, Callable[[Path], object]] = {
        "ours, QIDO + WADO-RS": lambda place: ours(place, WEB, slices),
        "ours, C-FIND + C-GET": lambda place: ours(place, DIMSE, slices),
        "ours, C-FIND + C-MOVE": lambda place: ours(place, DIMSE, slices, **move),
        "ours, nothing new (QIDO)": lambda place: unchanged(kept, WEB),
        "ours, nothing new (C-FIND)": lambda place: unchanged(kept, DIMSE),
        "dicomweb-client iter_series, thrown away": lambda place: iterated(None),
        "dicomweb-client iter_series, to files": iterated,
        "dcmtk getscu, to files": getscu,
    }
    return {name: timed(rounds, folder, work) for name, work in ways.items()}


def report(results: dict[str, list[float]]) -> None:
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| way | best, s | median, s |\n| --- | --- | --- |")
    for name, times in results.items():
        print(f"| {name} | {min(times):.2f} | {statistics.median(times):.2f} |")


if __name__ == "__main__":
    main()
