"""What a stage folder has to say, and what a whole flow did."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medsynth.core.manifest import FOLDS, Manifest
from medsynth.core.stage import Artifact
from medsynth.evaluate.effects import read_effects
from medsynth.ingest.deidentification.stage import SUMMARY as DEIDENTIFIED_SUMMARY
from medsynth.ingest.page.account import Account, read_account
from medsynth.ingest.quarantine import read_quarantine

Facts = Mapping[str, Any]


def manifest_facts(artifact: Artifact) -> dict[str, Any]:
    """Counts of an ingest; refused files by reason."""
    account, refused = read_account(artifact.path), read_quarantine(artifact.path)
    return {
        "num_volumes": account.num_volumes,
        "num_subjects": account.num_subjects,
        "num_files": account.num_files,
        "num_left_out": account.num_left_out,
        "num_flagged": account.num_flagged,
        "num_quarantined": sum(refused.values()),
        **{f"quarantined_{reason}": count for reason, count in sorted(refused.items())},
    }


def read_deidentified(folder: Path) -> dict[str, Any]:
    """The counts of a de-identification."""
    summary: dict[str, Any] = json.loads((folder / DEIDENTIFIED_SUMMARY).read_text())
    return summary


def deidentified_facts(artifact: Artifact) -> dict[str, Any]:
    """Counts of a de-identification: files, actions, refused files by reason."""
    summary = read_deidentified(artifact.path)
    return {
        **{name: summary[name] for name in ("num_written", "num_subjects", "num_series")},
        **{f"action_{name}": count for name, count in summary["actions"].items()},
        **{f"quarantined_{reason}": count for reason, count in summary["quarantined"].items()},
    }


def prepared_facts(artifact: Artifact) -> dict[str, Any]:
    """Scans in each fold."""
    folds = Counter(scan.fold for scan in Manifest.read(artifact.path))
    return {f"num_{fold}": folds[fold] for fold in FOLDS}


def cohort_facts(artifact: Artifact) -> dict[str, Any]:
    """How many scans."""
    return {"num_scans": len(Manifest.read(artifact.path))}


def read_audit(evidence: Path) -> dict[str, Any]:
    """The audit object of an evidence folder."""
    audit: dict[str, Any] = json.loads((evidence / "audit.json").read_text())
    return audit


def audit_facts(artifact: Artifact) -> dict[str, Any]:
    """Verdict and counts."""
    audit = read_audit(artifact.path)
    names = ("verdict", "policy", "scope", "num_synthetic", "num_rejected")
    return {name: audit[name] for name in names}


def read_metrics(evaluation: Path) -> dict[str, dict[str, Any]]:
    """Metric to {value, floor, low, high, n}."""
    metrics: dict[str, dict[str, Any]] = json.loads((evaluation / "metrics.json").read_text())
    return metrics


def evaluation_facts(artifact: Artifact) -> dict[str, Any]:
    """Each metric's value and its real-versus-real floor; each effect and what was asked for."""
    facts = {}
    for name, row in read_metrics(artifact.path).items():
        facts |= {key: row[part] for key, part in ((name, "value"), (f"{name}_floor", "floor"))}
    for effect in read_effects(artifact.path):
        asked = {f"{effect.name}_asked": effect.asked} if effect.is_on_target else {}
        facts |= {effect.name: effect.mean, **asked}
    return {name: value for name, value in facts.items() if value is not None}


def read_comparison(comparison: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Model to metric to {value, floor, low, high, n}: means over the seeds."""
    parts: dict[str, dict[str, dict[str, dict[str, Any]]]]
    parts = json.loads((comparison / "comparison.json").read_text())
    return parts["mean"]


def comparison_facts(artifact: Artifact) -> dict[str, Any]:
    """Every number by model and name, as MLflow keeps it; the floors as a model called real."""
    models = read_comparison(artifact.path)
    facts = {
        f"{model}.{name}": row["value"]
        for model, rows in models.items()
        for name, row in rows.items()
    }
    floors = {f"real.{name}": row["floor"] for name, row in models["diffusion"].items()}
    return {name: value for name, value in (facts | floors).items() if value is not None}


def read_compression(folder: Path) -> dict[str, Any]:
    """Costs and metrics of source and candidates, and which of these was accepted."""
    found: dict[str, Any] = json.loads((folder / "compression.json").read_text())
    return found


def compression_facts(artifact: Artifact) -> dict[str, Any]:
    """Every number of source and candidates, as MLflow keeps it."""
    found = read_compression(artifact.path)
    facts = {f"source.{name}": value for name, value in found["source"]["cost"].items()}
    facts |= {f"source.{name}": row["value"] for name, row in found["source"]["metrics"].items()}
    for name, one in found["candidates"].items():
        place = name.replace(" ", "_")
        facts |= {f"{place}.{key}": value for key, value in one["cost"].items()}
        facts |= {f"{place}.speedup": one["speedup"]["value"]}
        facts |= {f"{place}.{row['name']}": row["candidate"]["value"] for row in one["checks"]}
    facts["num_accepted"] = sum(not one["reasons"] for one in found["candidates"].values())
    return {name: value for name, value in facts.items() if value is not None}


@dataclass(frozen=True)
class Outcome:
    """What a flow did: its stages in order, the seconds of each, and what it wrote beside them."""

    stages: Sequence[Artifact] = ()
    report: Path | None = None
    tracking_uri: str = ""
    retrieved: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    def path(self, stage: str) -> Path | None:
        """The folder of a stage, where this flow has it."""
        return next((a.path for a in self.stages if a.path.name == stage), None)

    @property
    def out(self) -> Path | None:
        """The last stage folder."""
        return self.stages[-1].path if self.stages else None

    @property
    def reused(self) -> tuple[str, ...]:
        """Names of the stages that were found and not run."""
        return tuple(artifact.path.name for artifact in self.stages if artifact.reused)

    @property
    def num_scans(self) -> int | None:
        """Volumes that ingest accepted."""
        folder = self.path("manifest")
        return len(Manifest.read(folder)) if folder else None

    @property
    def account(self) -> Account | None:
        """What became of every file that ingest was given."""
        folder = self.path("manifest")
        return read_account(folder) if folder else None

    @property
    def quarantined(self) -> Mapping[str, int] | None:
        """Files that ingest refused, by reason."""
        folder = self.path("manifest")
        return read_quarantine(folder) if folder else None

    @property
    def audit(self) -> dict[str, Any] | None:
        """The audit object."""
        folder = self.path("evidence")
        return read_audit(folder) if folder else None

    @property
    def verdict(self) -> str | None:
        """PASS, FAIL or INCONCLUSIVE."""
        return self.audit["verdict"] if self.audit else None

    @property
    def evaluation(self) -> dict[str, dict[str, Any]] | None:
        """The metrics."""
        folder = self.path("evaluation")
        return read_metrics(folder) if folder else None

    @property
    def compression(self) -> dict[str, Any] | None:
        """Source and candidates, measured."""
        folder = self.path("compression")
        return read_compression(folder) if folder else None

    @property
    def comparison(self) -> dict[str, dict[str, dict[str, Any]]] | None:
        """The metrics of every model."""
        folder = self.path("comparison")
        return read_comparison(folder) if folder else None
