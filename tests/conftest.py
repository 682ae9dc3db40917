"""Fixtures for every room."""

import gzip
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real scans beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("../shared with its real scans is absent")
    return SHARED


@pytest.fixture(scope="session")
def random_generator() -> Callable[..., object]:
    """`random_generator(schema, rows)`: a 2D generator of a few weights, untrained, not silent."""
    import torch

    from medsynth.checkpoint import Generator
    from medsynth.core.geometry import Geometry
    from medsynth.models.autoencoder import Autoencoder, AutoencoderConfig
    from medsynth.models.cells import count_cells
    from medsynth.models.conditioning import ConditionEncoder
    from medsynth.models.denoiser import Denoiser, DenoiserConfig
    from medsynth.models.frame import Frame
    from medsynth.models.synthesizer import LatentScale, Synthesizer
    from medsynth.models.trained import learn_attributes

    def make(schema, rows, scale=((0.0, 0.0), (1.0, 1.0)), channels=(16, 16)) -> Generator:
        torch.manual_seed(0)
        trained, shape = learn_attributes(schema, rows), (12, 10, 1)
        denoiser = Denoiser(
            DenoiserConfig(2, 2, len(schema), channels=channels, token_dim=16, norm_groups=8)
        )
        for parameter in denoiser.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        synthesizer = Synthesizer(
            Autoencoder(AutoencoderConfig(2, (8, 8), latent_channels=2)),
            ConditionEncoder(schema, trained, 16),
            denoiser,
            LatentScale(*map(np.array, scale)),
            Frame(shape, 8),
            schema,
            trained,
        )
        cells = count_cells(schema, rows, [f"sub-{i}" for i in range(len(rows))])
        return Generator(synthesizer, Geometry(shape, np.diag([2.0, 2, 5, 1])), "MR", cells)

    return make


def texts(path: Path) -> Iterator[bytes]:
    """Everything readable in a file: its bytes, and what gzip, parquet or sqlite hide in it."""
    data = path.read_bytes()
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif data[:4] == b"PAR1":
        yield json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
    elif data[:15] == b"SQLite format 3":
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            yield "\n".join(database.iterdump()).encode(errors="replace")


class Identifiers:
    """What phi.json planted, searched for by the leak rule of CONTRACTS.md."""

    def __init__(self, phi: Path) -> None:
        entries = json.loads(phi.read_text())
        people = [entry["patient"] for entry in entries]
        studies = [study for entry in entries for study in entry["studies"]]
        self.by_tag: dict[bytes, list[bytes]] = {}
        for person in people:
            tag = re.search(r"\d{8}", person["PatientID"])
            assert tag
            words = {part for value in person.values() for part in [value, *value.split("^")]}
            self.by_tag[tag[0].encode()] = [w.encode() for w in words if tag[0] in w]
        days = [study["StudyDate"] for study in studies]
        self.dates = {day.encode() for day in days}
        self.dashed = {f"{d[:4]}-{d[4:6]}-{d[6:]}".encode() for d in days}
        self.uids = {v.encode() for s in studies for k, v in s.items() if k.endswith("UID")}
        self.accessions = {study["AccessionNumber"].encode() for study in studies}
        self.sites = {study["InstitutionName"].encode() for study in studies}

    def found_in(self, data: bytes) -> set[str]:
        """Kinds of identifier that stand in the bytes."""
        found = {"site" for site in self.sites if site in data}
        found |= {"uid" for uid in re.findall(rb"\d+(?:\.\d+)+", data) if uid in self.uids}
        found |= {"accession" for a in re.findall(rb"ACC\d+", data) if a in self.accessions}
        found |= {"date" for d in re.findall(rb"\d{4}-\d\d-\d\d", data) if d in self.dashed}
        for run in re.finditer(rb"\d{8,}", data):
            for start in range(run.start(), run.end() - 7):
                found |= self._digits(data, start)
        return found

    def _digits(self, data: bytes, start: int) -> set[str]:
        eight = data[start : start + 8]
        around = data[max(start - 1, 0) : start] + data[start + 8 : start + 9]
        stands_alone = not re.search(rb"[0-9a-fA-F.]", around)
        if eight in self.by_tag:
            window = data[max(start - 64, 0) : start + 72]
            if stands_alone or any(w in window for w in self.by_tag[eight] if w != eight):
                return {"person"}
        return {"date"} if stands_alone and eight in self.dates else set()


def search(folder: Path, phi: Path) -> dict[str, set[str]]:
    """Files below the folder that hold a planted identifier, and of which kind."""
    identifiers = Identifiers(phi)
    leaks: dict[str, set[str]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        found = identifiers.found_in(name.encode())
        for text in texts(path):
            found |= identifiers.found_in(text)
        if found:
            leaks[name] = found
    return leaks


@pytest.fixture(scope="session")
def find_leaks() -> Callable[[Path, Path], dict[str, set[str]]]:
    """`find_leaks(folder, phi.json)`: the files that leak, and what."""
    return search
