"""A real Orthanc in a network namespace of its own, archives to fill it with, and ways to ask it.

Debian's Orthanc binds every interface. So a namespace is made that has nothing but a loopback;
Orthanc is started in it, and each test that speaks to it enters that namespace with its own
thread (setns(2)) and leaves it afterwards. Threads and processes started meanwhile are inside,
too; everything else of the test session stays where it was. That needs CAP_SYS_ADMIN: without
root, run `unshare -rn .venv/bin/python -m pytest tests/pacs`.
"""

import base64
import ctypes
import datetime
import fcntl
import http.client
import ipaddress
import json
import os
import secrets
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from medsynth.core.keys import DEMO_KEYS
from medsynth.ingest.pacs.address import parse_address
from medsynth.ingest.pacs.config import PacsConfig
from medsynth.ingest.pacs.connect import connected
from medsynth.ingest.pacs.credentials import Credentials
from medsynth.ingest.pacs.pace import Clock
from medsynth.ingest.pacs.retrieve import Retrieval, retrieve
from medsynth.ingest.pacs.spool import open_spool

ORTHANC = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x8914, 1
HTTP, DICOM, RECEIVER = 8042, 4242, 11112
USER, PASSWORD = "reader", "correct horse"
START_SECONDS = 60
EAGER: dict[str, Any] = {
    "settle_polls": 1,
    "quiet_seconds": 0.0,
    "wait_seconds": 0.0,
    "backoff_seconds": 0.01,
    "timeout_seconds": 20.0,
}
"""No waiting: what a test does not ask about must not cost time."""


class Namespace:
    """A network that has a loopback and nothing else."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        if self._libc.unshare(CLONE_NEWNET):
            os.close(home)
            raise PermissionError("unshare")
        self._inside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
        self._enter(home)
        os.close(home)

    def _enter(self, handle: int) -> None:
        assert self._libc.setns(handle, CLONE_NEWNET) == 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._enter(self._inside)
        try:
            yield
        finally:
            self._enter(home)
            os.close(home)


@pytest.fixture(scope="session")
def namespace() -> Namespace:
    try:
        return Namespace()
    except PermissionError:
        pytest.skip("a network namespace needs root: unshare -rn .venv/bin/python -m pytest ...")


@dataclass
class Orthanc:
    """A running Orthanc; everything here must be called inside its namespace."""

    http: int = HTTP
    dicom: int = DICOM
    login: tuple[str, str] | None = None
    is_tls: bool = False
    """Of DIMSE; Debian 12's Orthanc dies at the first request over its own HTTPS."""

    @property
    def web(self) -> str:
        return f"dicomweb://127.0.0.1:{self.http}/dicom-web"

    @property
    def dimse(self) -> str:
        return f"dimse{'s' * self.is_tls}://ORTHANC@127.0.0.1:{self.dicom}"

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", body)
        request.method = method
        if self.login:
            word = base64.b64encode(":".join(self.login).encode()).decode()
            request.add_header("Authorization", f"Basic {word}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def add(self, *files: Path) -> None:
        for path in files:
            self.ask("/instances", "POST", path.read_bytes())

    def clear(self) -> None:
        for study in self.ask("/studies"):
            self.ask(f"/studies/{study}", "DELETE")


@contextmanager
def running(namespace: Namespace, folder: Path, **settings: Any) -> Iterator[Orthanc]:
    """An Orthanc in the namespace."""
    if not Path(ORTHANC).is_file() or not PLUGIN.is_file():
        pytest.skip("Orthanc is absent: apt-get install orthanc orthanc-dicomweb")
    users = settings.get("RegisteredUsers")
    config = {
        "Name": "tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": HTTP,
        "DicomPort": DICOM,
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": True,
        "DicomModalities": {"medsynth": ["MEDSYNTH", "127.0.0.1", RECEIVER]},
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "RemoteAccessAllowed": True,
        "AuthenticationEnabled": users is not None,
        "StableAge": 1,
        **settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(config))
    with (folder / "orthanc.log").open("wb") as log, namespace.entered():
        process = subprocess.Popen([ORTHANC, str(folder / "orthanc.json")], stdout=log, stderr=log)
    login = next(iter(users.items())) if users else None
    orthanc = Orthanc(config["HttpPort"], config["DicomPort"], login, "DicomTlsEnabled" in settings)
    try:
        with namespace.entered():
            _wait_for(orthanc, process)
        yield orthanc
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(orthanc: Orthanc, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            orthanc.ask("/system")
            return
        except OSError:
            assert process.poll() is None, "Orthanc did not start"
            assert time.monotonic() < end, "Orthanc did not answer"
            time.sleep(0.05)


@pytest.fixture(scope="session")
def one_orthanc(
    namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orthanc]:
    with running(namespace, tmp_path_factory.mktemp("orthanc")) as orthanc:
        yield orthanc


@pytest.fixture
def orthanc(namespace: Namespace, one_orthanc: Orthanc) -> Iterator[Orthanc]:
    """An empty Orthanc; the test runs in its network."""
    with namespace.entered():
        one_orthanc.clear()
        yield one_orthanc


def make_instance(
    path: Path, study: str, series: str, number: int = 0, *, size: int = 8, **tags: Any
) -> Path:
    """One MR slice of a person who is easily found again."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.Modality = MRImageStorage, "MR"
    dataset.SOPInstanceUID = f"{series}.{number + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.PatientID, dataset.PatientName = "MRN-91827364", "Abendroth91827364^Cosima"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "19610203", "F", "061Y"
    dataset.AccessionNumber, dataset.StudyID = "ACC5550199", "1"
    dataset.StudyDate, dataset.StudyTime = "20220317", "101500"
    dataset.SeriesDescription, dataset.SeriesNumber = "AX FLAIR", 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    dataset.InstanceNumber = number + 1
    dataset.ImagePositionPatient = [-20, -20, 3 * number]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 3
    dataset.FrameOfReferenceUID = f"{study}.9"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = size, size, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    pixels = np.random.default_rng(number).integers(0, 4000, (size, size), np.uint16)
    dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def make_series(tmp_path: Path) -> Callable[..., list[Path]]:
    """`make_series(count, first=0, study=..., series=..., **tags)`: files below tmp_path."""

    def make(
        count: int, *, first: int = 0, study: str = "", series: str = "", **tags: Any
    ) -> list[Path]:
        study = study or f"2.25.{secrets.randbits(100)}"
        series = series or f"2.25.{secrets.randbits(100)}"
        folder = tmp_path / "sent" / series
        numbers = range(first, first + count)
        return [make_instance(folder / f"{n}.dcm", study, series, n, **tags) for n in numbers]

    return make


def data_sets(*files: Path) -> dict[str, bytes]:
    """Each file's data set as bytes, behind the file header, by SOP instance UID."""
    found = {}
    for path in files:
        whole = path.read_bytes()
        meta = dcmread(path, stop_before_pixels=True).file_meta
        found[str(meta.MediaStorageSOPInstanceUID)] = whole[
            144 + int(meta.FileMetaInformationGroupLength) :
        ]
    return found


@dataclass
class Client:
    """A spool and the way to fill it."""

    folder: Path

    def fetch(
        self, address: str, secret: dict[str, str] | None = None, **changes: Any
    ) -> Retrieval:
        retry_dead, clock = changes.pop("retry_dead", False), changes.pop("clock", None)
        config = PacsConfig(**{**EAGER, **changes})
        credentials = Credentials.read(secret or {})
        with (
            open_spool(self.folder, DEMO_KEYS) as spool,
            connected(parse_address(address), credentials, config) as peer,
        ):
            return retrieve(peer, spool, config, retry_dead=retry_dead, clock=clock)

    def ready(self) -> list[Path]:
        return sorted((self.folder / "ready").rglob("*.dcm"))

    def incoming(self) -> list[Path]:
        return sorted((self.folder / "incoming").rglob("*.dcm"))


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path / "spool")


@pytest.fixture
def same() -> Callable[[list[Path], list[Path]], bool]:
    """Whether two lists of files hold the same data sets, each once."""
    return lambda a, b: data_sets(*a) == data_sets(*b) and len(a) == len(b) == len(data_sets(*a))


def write_certificates(folder: Path) -> dict[str, str]:
    """A self-made authority and what it signed: PEM files of server and client."""
    day = datetime.datetime(2020, 1, 1)
    until = datetime.datetime(2090, 1, 1)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "medsynth tests")])
    files = {}
    for name in ("ca", "server", "client"):
        key = ca_key if name == "ca" else ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"medsynth {name}")])
        builder = x509.CertificateBuilder(
            ca_name,
            ca_name if name == "ca" else subject,
            key.public_key(),
            x509.random_serial_number(),
            day,
            until,
        )
        is_ca = x509.BasicConstraints(ca=name == "ca", path_length=None)
        place = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        signed = builder.add_extension(is_ca, True).add_extension(place, False)
        certificate = signed.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for end, data in ((".crt", certificate), (".key", secret), (".pem", certificate + secret)):
            (folder / f"{name}{end}").write_bytes(data)
            files[f"{name}{end}"] = str(folder / f"{name}{end}")
    return files


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def one_secured(
    namespace: Namespace, certificates: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orthanc]:
    settings = {
        "HttpPort": HTTP + 1,
        "DicomPort": DICOM + 1,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": certificates["server.crt"],
        "DicomTlsPrivateKey": certificates["server.key"],
        "DicomTlsTrustedCertificates": certificates["ca.crt"],
    }
    with running(namespace, tmp_path_factory.mktemp("secured"), **settings) as orthanc:
        yield orthanc


@pytest.fixture
def secured(namespace: Namespace, one_secured: Orthanc) -> Iterator[Orthanc]:
    """An empty Orthanc that wants a user over HTTP, and certificates over DIMSE."""
    with namespace.entered():
        one_secured.clear()
        yield one_secured


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever breaks a handshake off is one of the tests."""


@dataclass
class Proxy:
    """Stands before Orthanc: asks for a token, and fails the way it is told."""

    port: int = 0
    behind: int = HTTP
    token: str = ""
    scheme: str = "dicomweb"
    fault: Callable[[str], str] = lambda path: ""
    """What goes wrong with a request: a status, "cut" in the middle, or nothing."""
    asked: list[str] = field(default_factory=list)

    @property
    def web(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/dicom-web"


@pytest.fixture
def proxy(orthanc: Orthanc) -> Iterator[Proxy]:
    with serving(Proxy()) as proxy:
        yield proxy


@pytest.fixture
def tls_proxy(secured: Orthanc, certificates: dict[str, str]) -> Iterator[Proxy]:
    """HTTPS before the Orthanc that wants a user; it wants a certificate of ours, too."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates["ca.crt"])
    context.load_cert_chain(certificates["server.crt"], certificates["server.key"])
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(Proxy(behind=secured.http, scheme="dicomwebs"), context) as proxy:
        yield proxy


@contextmanager
def serving(proxy: Proxy, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    """The proxy at work in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            proxy.asked.append(self.path)
            fault = proxy.fault(self.path)
            if proxy.token and self.headers["Authorization"] != f"Bearer {proxy.token}":
                fault = "401"
            if fault.isdecimal():
                self.send_error(int(fault))
                return
            self._pass_on(is_cut=fault == "cut")

        def _pass_on(self, *, is_cut: bool) -> None:
            behind = http.client.HTTPConnection("127.0.0.1", proxy.behind, timeout=20)
            kept = {k: v for k, v in self.headers.items() if k in ("Accept", "Authorization")}
            behind.request("GET", self.path, headers=kept)
            answer = behind.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            behind.close()
            self.wfile.write(body[: len(body) // 2] if is_cut else body)

        def log_message(self, *words: Any) -> None:
            pass

    server = QuietServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    proxy.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class FakeTime:
    """A clock that waits in no time; `while_waiting` is called at each wait."""

    def __init__(self, now: datetime.datetime = datetime.datetime(2024, 5, 17, 23)) -> None:
        self.time = now
        self.waits: list[float] = []
        self.while_waiting: Callable[[], object] = lambda: None

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.time, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.time += datetime.timedelta(seconds=seconds)
        if seconds:
            self.waits.append(seconds)
            self.while_waiting()


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()
