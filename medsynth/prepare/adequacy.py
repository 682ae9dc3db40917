"""What there is to learn from: subjects per fold, and what is known of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medsynth.core.manifest import FOLDS, Manifest, Scan
from medsynth.core.schema import Attribute
from medsynth.prepare.folds import Folds
from medsynth.prepare.grid import Grid


def adequacy(
    manifest: Manifest, grid: Grid, left_out: Mapping[str, int], folds_digest: str
) -> dict[str, Any]:
    """Counts of subjects, scans, missing values and levels, by fold; stays inside."""
    return {
        "num_scans": len(manifest),
        "num_subjects": len(manifest.subjects),
        "modality": manifest.scans[0].modality,
        "shape": list(grid.shape),
        "spacing": [round(mm, 6) for mm in grid.spacing],
        "left_out": dict(sorted(left_out.items())),
        "folds_digest": folds_digest,
        "folds": {fold: _fold(manifest.fold(fold)) for fold in FOLDS},
        "attributes": {a.name: _attribute(a, manifest) for a in manifest.schema},
    }


def people_counts(ingested: Manifest, folds: Folds) -> dict[str, Any]:
    """Whether anybody looked for the same person under two subject ids, and what came of it."""
    persons = {folds.people.person(subject) for subject in ingested.subjects}
    return {
        "is_reviewed": folds.people.num_reviews > 0,
        "num_merged": len(ingested.subjects) - len(persons),
    }


def _fold(manifest: Manifest) -> dict[str, int]:
    return {"num_subjects": len(manifest.subjects), "num_scans": len(manifest)}


def _attribute(attribute: Attribute, manifest: Manifest) -> dict[str, Any]:
    return {
        "kind": attribute.kind,
        **_known(attribute, manifest.scans),
        "folds": {fold: _known(attribute, manifest.fold(fold).scans) for fold in FOLDS},
    }


def _known(attribute: Attribute, scans: Sequence[Scan]) -> dict[str, Any]:
    values = [value for s in scans if (value := s.attributes.get(attribute.name)) is not None]
    counts: dict[str, Any] = {"num_missing": len(scans) - len(values)}
    if attribute.is_numeric:
        numbers = np.array(values, dtype=np.float64)
        quartiles = np.percentile(numbers, [25, 50, 75]).tolist() if len(numbers) else None
        return counts | {"quartiles": quartiles}
    if attribute.kind in ("text", "mask"):
        return counts
    words = Counter(word for value in values for word in _words(attribute, str(value)))
    return counts | {"levels": {level: words[level] for level in attribute.values or sorted(words)}}


def _words(attribute: Attribute, value: str) -> list[str]:
    return value.split("|") if attribute.kind == "labels" else [value]
