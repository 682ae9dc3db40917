"""Stage people/: pairs of scans that may show one person, for a review before folds are made.

people/: review.html (pictures, no identifier), pairs.csv (for the reviewer's copy), hubs.csv and
damaged.csv (our keyed ids), summary.json (counts). It shows real scans and stays inside.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from medsynth.core.errors import UsageProblem
from medsynth.core.manifest import Manifest, Scan, load_scan
from medsynth.core.pictures import png_bytes, scan_picture
from medsynth.core.stage import Artifact, Progress, Request, code_digest, produce
from medsynth.ingest.page.thumbnails import data_uri
from medsynth.prepare.config import PrepareConfig
from medsynth.prepare.grid import normalize, plane_last
from medsynth.prepare.people import COLUMNS
from medsynth.prepare.scans import without_folds
from privacy.people import Findings, find_people

STAGE = "people"
PAGE, PAIRS, HUBS, DAMAGED, SUMMARY = (
    "review.html",
    "pairs.csv",
    "hubs.csv",
    "damaged.csv",
    "summary.json",
)
_HEIGHT = 256  # pixels of a picture


def search_people(
    manifest: Artifact, out: Path, config: PrepareConfig, *, progress: Progress
) -> Artifact:
    """The stage OUT/people; raises UsageProblem where folds are already known."""
    if any(scan.fold is not None for scan in Manifest.read(manifest.path)):
        raise UsageProblem(
            "people needs the stage folder of `medsynth ingest`: who is the same person must be "
            "decided without a look at the folds"
        )
    request = Request(
        stage=STAGE,
        parents={"manifest": manifest.digest},
        config={name: config.model_dump(mode="json")[name] for name in _DECIDING},
        code=code_digest("flows.people_stage"),
    )

    def build(folder: Path) -> None:
        scans, volumes = without_folds(manifest.path, config)
        names = {subject: number for number, subject in enumerate(scans.subjects)}
        owners = np.array([names[scan.subject_id] for scan in scans])
        done = 0

        def tick(count: int) -> None:
            nonlocal done
            done += count
            progress(done, len(scans))

        _write(folder, manifest.path, scans, find_people(volumes, owners, tick), config)

    return produce(out, request, build)


_DECIDING = ("shape", "spacing", "intensity", "percentiles", "range")


def _write(
    folder: Path, source: Path, manifest: Manifest, found: Findings, config: PrepareConfig
) -> None:
    scans = manifest.scans
    pairs = [(scans[pair.one], scans[pair.other]) for pair in found.pairs]
    hubs, damaged = ([scans[n] for n in rows] for rows in (found.hubs, found.damaged))
    rows = [[n, one.subject_id, two.subject_id, ""] for n, (one, two) in enumerate(pairs, 1)]
    _write_csv(folder / PAIRS, COLUMNS, rows)
    for name, listed in ((HUBS, hubs), (DAMAGED, damaged)):
        rows = [[n, scan.scan_id, scan.subject_id] for n, scan in enumerate(listed, 1)]
        _write_csv(folder / name, ("number", "scan_id", "subject_id"), rows)
    counts = {
        "num_scans": len(scans),
        "num_subjects": len(manifest.subjects),
        "num_pairs": len(pairs),
        "num_by_chance": found.num_by_chance,
        "num_hubs": len(hubs),
        "num_damaged": len(damaged),
    }
    (folder / SUMMARY).write_text(json.dumps(counts, indent=1) + "\n")
    pictures = {s.scan_id: _picture(source, s, config) for p in [*pairs, hubs, damaged] for s in p}
    page = _PAGE.render(
        counts=counts,
        pairs=[[pictures[scan.scan_id] for scan in pair] for pair in pairs],
        hubs=[pictures[scan.scan_id] for scan in hubs],
        damaged=[pictures[scan.scan_id] for scan in damaged],
    )
    (folder / PAGE).write_text(page, encoding="utf-8")


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    path.chmod(0o400)  # a reviewer who saves over it would break the stage's receipt


def _picture(source: Path, scan: Scan, config: PrepareConfig) -> str:
    """A scan at its own resolution, in the window of prepare."""
    volume = plane_last(load_scan(source, scan))
    array = normalize(volume.array[0], config, is_inverted="monochrome1" in scan.flags)
    return data_uri(png_bytes(scan_picture(array, height=_HEIGHT)))


_PAGE = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True).from_string(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>The same person twice? · medsynth</title>
<style>
body { margin: 0 auto; padding: 32px 24px; max-width: 1100px;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
.private { padding: 12px 16px; border-left: 6px solid #b06f00;
  background: #fdf3e0; color: #16202c; }
.grid { display: grid; gap: 20px; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); }
.grid.single { grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); }
figure { margin: 0; } figure div { display: flex; gap: 4px; background: #000; }
img { flex: 1; min-width: 0; width: 100%; aspect-ratio: 1; object-fit: contain; background: #000; }
figcaption { font-weight: 600; }
</style>
</head>
<body>
<h1>The same person twice?</h1>
<p class="private">This page shows real scans. It stays in the private stage folder.</p>
<p>{{ counts.num_scans }} scans of {{ counts.num_subjects }} subject ids were compared with each
other. {{ counts.num_pairs }} pairs stand out, the most striking first{% if counts.num_pairs %};
about {{ counts.num_by_chance }} of them, at most, by chance alone{% endif %}. Write “same” or
“different” for each number into a copy of pairs.csv; leave empty what you cannot tell. Look at
folds of the cortex, ventricles, bones and vessels: a lesion may change, sharpness and gray tell
nothing.</p>
<h2>Pairs</h2>
<div class="grid">
{% for pair in pairs %}
<figure><div>{% for source in pair %}<img src="{{ source }}" alt="">{% endfor %}</div>
<figcaption>{{ loop.index }}</figcaption></figure>
{% else %}
<p>No pair stands out.</p>
{% endfor %}
</div>
{% for title, words, sources in [
  ("Hubs", "Near to very many people, and so left out of the search for pairs: often damaged, cut "
   "or turned. Numbered as in hubs.csv.", hubs),
  ("Damaged?", "Unlike all others in a plain fact: what is filled, how sharp, how like the median "
   "scan. Numbered as in damaged.csv.", damaged)] %}
<h2>{{ title }}</h2>
<p>{{ words }}</p>
<div class="grid single">
{% for source in sources %}
<figure><div><img src="{{ source }}" alt=""></div><figcaption>{{ loop.index }}</figcaption></figure>
{% else %}
<p>None.</p>
{% endfor %}
</div>
{% endfor %}
</body>
</html>
"""
)
