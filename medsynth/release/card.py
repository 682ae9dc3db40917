"""The written pages of a release, made from manifest, certificate and metrics alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medsynth.core.certificate import Certificate
from medsynth.core.manifest import Manifest
from medsynth.core.schema import Attribute, AttributeValue
from medsynth.evaluate.metrics import Metric
from medsynth.release.config import ReleaseConfig
from medsynth.release.templates import render


def write_pages(
    folder: Path,
    manifest: Manifest,
    certificate: Certificate,
    metrics: Mapping[str, Metric],
    config: ReleaseConfig,
) -> None:
    """README.md, LICENSE, CHANGES and dataset_card.md, and the first three again for bids/."""
    facts = _facts(manifest, certificate, metrics, config)
    pages = {
        "README.md": render("readme.md", **facts),
        "LICENSE": license_text(config),
        "CHANGES": _changes(config, str(certificate.body["issued"])[:10]),
        "dataset_card.md": render("dataset_card.md", **facts),
    }
    for name, text in pages.items():
        (folder / name).write_text(text)
    (folder / "bids" / "README.md").write_text(render("bids_readme.md", **facts))
    for name in ("LICENSE", "CHANGES"):
        (folder / "bids" / name).write_text(pages[name])


def license_text(config: ReleaseConfig) -> str:
    """The LICENSE file."""
    return config.license_text or f"This data set is released under: {config.license}\n"


def as_lines(value: str | Sequence[str]) -> list[str]:
    """One sentence or several, as a list."""
    return [value] if isinstance(value, str) else [str(line) for line in value]


def _changes(config: ReleaseConfig, date: str) -> str:
    return "\n".join([f"{config.version} {date}", *(f"  - {c}" for c in config.changes)]) + "\n"


def _facts(
    manifest: Manifest,
    certificate: Certificate,
    metrics: Mapping[str, Metric],
    config: ReleaseConfig,
) -> dict[str, Any]:
    body = certificate.body
    return {
        "config": config,
        "version": version("medsynth"),
        "body": body,
        "public_key": certificate.public_key,
        "not_run": sorted({r["gate"] for r in body["gates"] if r.get("result") == "NOT_RUN"}),
        "does_not_show": as_lines(body["does_not_show"]),
        "num_scans": len(manifest),
        "num_subjects": len(manifest.subjects),
        "modalities": ", ".join(sorted({scan.modality for scan in manifest})),
        "grids": _grids(manifest),
        "attributes": [_attribute_facts(manifest, attribute) for attribute in manifest.schema],
        "metrics": {name: _numbers(metric) for name, metric in metrics.items()},
        "example": manifest.scans[0].path if len(manifest) else "",
    }


def _grids(manifest: Manifest) -> list[str]:
    grids = set()
    for scan in manifest:
        shape = " x ".join(str(side) for side in scan.shape)
        spacing = " x ".join(f"{side:.4g}" for side in scan.geometry.spacing)
        grids.add(f"{shape} voxels of {spacing} mm, {scan.dtype}")
    return sorted(grids)


def _attribute_facts(manifest: Manifest, attribute: Attribute) -> dict[str, Any]:
    asked = [scan.attributes.get(attribute.name) for scan in manifest]
    read = [scan.measured.get(attribute.name) for scan in manifest]
    return {
        "name": attribute.name,
        "kind": attribute.kind,
        "unit": attribute.unit or "-",
        "levels": ", ".join(attribute.values) or _range(attribute),
        "asked": _distribution(attribute, asked),
        "read": _distribution(attribute, read),
        "missing": f"{100 * sum(v is None for v in asked) / max(1, len(asked)):.0f} %",
    }


def _range(attribute: Attribute) -> str:
    if attribute.low is None or attribute.high is None:
        return "-"
    return f"{attribute.low:g} to {attribute.high:g}"


def _distribution(attribute: Attribute, values: Sequence[AttributeValue]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    if attribute.is_numeric:
        numbers = np.array(known, np.float64)
        extent = f"{numbers.min():.3g} to {numbers.max():.3g}"
        return f"{numbers.mean():.3g} ± {numbers.std():.2g} ({extent})"
    if attribute.kind in ("text", "mask"):
        return f"{len(set(known))} different"
    words = Counter(word for value in known for word in str(value).split("|"))
    return ", ".join(f"{word} {count}" for word, count in sorted(words.items()))


def _numbers(metric: Metric) -> dict[str, str]:
    def text(value: float | None) -> str:
        return "-" if value is None else f"{value:.3g}"

    interval = "-" if metric.low is None else f"{text(metric.low)} to {text(metric.high)}"
    return {
        "value": text(metric.value),
        "floor": text(metric.floor),
        "interval": interval,
        "n": str(metric.n),
    }
