"""The page of an ingest: what a person must see before anything is learned from these scans.

One self-contained file, the same for the same scans: no time, no path, no script, no network.
It shows real scans, so it stays in the private stage folder.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from medsynth.core.manifest import Manifest, Scan, load_scan
from medsynth.core.schema import Attribute
from medsynth.ingest.page.account import Account, read_account
from medsynth.ingest.page.charts import binned, count_words, histogram, histogram_chart
from medsynth.ingest.page.thumbnails import data_uri, draw_scan

FILE_NAME = "ingest.html"
_FOLDER, _TEMPLATE = Path(__file__).parent, "page.html"
_MOST_PICTURES, _MOST_ORTHOGONAL = 60, 12
_MOST_ROWS = 12  # of a table of geometries or repaired scans
_TIMES = "\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}"
_PERCENTS = tuple(10.0 * n for n in range(11))


def write_page(folder: Path) -> None:
    """Write ingest.html into a manifest stage whose other files are whole."""
    values = _values(folder, read_account(folder), Manifest.read(folder))
    text = _environment().get_template(_TEMPLATE).render(**values)
    (folder / FILE_NAME).write_text(text, encoding="utf-8")


def short_id(scan: Scan) -> str:
    """The part of a keyed id that tells scans apart on one page."""
    return scan.scan_id.removeprefix("scan-")[:8]


def sample_scans(scans: Sequence[Scan], count: int) -> list[Scan]:
    """One scan of each modality, and others by its share; in order of keyed ids: by chance."""
    ordered = sorted(scans, key=lambda scan: (scan.modality, scan.scan_id))
    firsts = {scan.modality: scan for scan in reversed(ordered)}
    chosen = [firsts[modality] for modality in sorted(firsts)][:count]
    others = [scan for scan in ordered if scan is not firsts[scan.modality]]
    more = min(count - len(chosen), len(others))
    chosen += [others[n * len(others) // more] for n in range(more)]
    return sorted(chosen, key=lambda scan: scan.scan_id)


def _values(folder: Path, account: Account, manifest: Manifest) -> dict[str, Any]:
    charted = [a for a in manifest.schema if a.kind not in ("text", "mask")]
    return {
        "account": account,
        "headlines": _headlines(account),
        "pictures": _pictures(folder, manifest.scans),
        "attributes": [_attribute(attribute, manifest.scans) for attribute in charted],
        "geometry": _geometry(manifest.scans),
        "repaired": _repaired(manifest.scans),
    }


def _headlines(account: Account) -> list[tuple[str, int]]:
    return [
        ("input files", account.num_files),
        ("files read", account.num_read),
        ("files refused", account.num_refused),
        ("files left out", account.num_left_out),
        ("volumes", account.num_volumes),
        ("subjects", account.num_subjects),
        ("volumes with flags", account.num_flagged),
    ]


def _pictures(folder: Path, scans: Sequence[Scan]) -> list[dict[str, Any]]:
    """Of a sample, the first 3D ones in three planes."""
    pictures, orthogonal = [], 0
    for scan in sample_scans(scans, _MOST_PICTURES):
        is_wide = min(scan.shape[:3]) > 1 and orthogonal < _MOST_ORTHOGONAL
        orthogonal += is_wide
        png = draw_scan(load_scan(folder, scan), scan, orthogonal=is_wide)
        pictures.append({"source": data_uri(png), "id": short_id(scan), "is_wide": is_wide})
    return pictures


def _attribute(attribute: Attribute, scans: Sequence[Scan]) -> dict[str, Any]:
    values = [scan.attributes.get(attribute.name) for scan in scans]
    bins = histogram(attribute, values) if attribute.is_numeric else None
    title = f"Volumes by {attribute.name}"
    return {
        "name": attribute.name,
        "unit": attribute.unit,
        "scale": attribute.scale if attribute.is_numeric else "linear",
        "chart": Markup(histogram_chart(bins, title)) if bins else "",
        "words": [] if attribute.is_numeric else count_words(attribute, values),
        "missing": sum(value is None for value in values),
    }


def _geometry(scans: Sequence[Scan]) -> list[dict[str, Any]]:
    """Tables of how many volumes have which modality, matrix, spacing and voxel type."""
    per_subject = Counter(Counter(scan.subject_id for scan in scans).values())
    columns = {
        "modality": Counter(scan.modality for scan in scans),
        _TIMES.join(("matrix, R", "A", "S")): Counter(
            _TIMES.join(map(str, scan.shape)) for scan in scans
        ),
        "spacing, mm": Counter(
            _TIMES.join(f"{mm:.2f}" for mm in scan.geometry.spacing) for scan in scans
        ),
        "voxel type": Counter(scan.dtype for scan in scans),
    }
    tables = [
        {"name": name, "unit": "volumes", "rows": _most(counts)} for name, counts in columns.items()
    ]
    words = Counter({f"{n} {'volume' if n == 1 else 'volumes'}": c for n, c in per_subject.items()})
    return [*tables, {"name": "volumes of one subject", "unit": "subjects", "rows": _most(words)}]


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent ones; the others share a line."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    rest = ordered[_MOST_ROWS:]
    others = [(f"{len(rest)} others", sum(count for _, count in rest))] if rest else []
    return ordered[:_MOST_ROWS] + others


def _repaired(scans: Sequence[Scan]) -> dict[str, Any] | None:
    """Volumes with interpolated planes, least observed first; `None` if there are none."""
    found = [
        (scan.provenance.observed, scan)
        for scan in scans
        if scan.provenance and scan.provenance.observed < 1
    ]
    if not found:
        return None
    found.sort(key=lambda pair: (pair[0], pair[1].scan_id))
    shares = [observed for observed, _ in found]
    bins = binned([100 * share for share in shares], _PERCENTS)
    return {
        "count": len(found),
        "median": f"{median(shares):.0%}",
        "lowest": f"{shares[0]:.0%}",
        "chart": Markup(histogram_chart(bins, "Repaired volumes by observed share, percent")),
        "rows": [
            {"id": short_id(scan), "observed": f"{observed:.0%}", "flags": ", ".join(scan.flags)}
            for observed, scan in found[:_MOST_ROWS]
        ],
    }


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
