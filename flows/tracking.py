"""MLflow: one run per pipeline run, a nested run per stage.

MLflow gets digests, labels, numbers and pictures of accepted scans; never a path, never a
person. Runs are made by the client, so that nothing is read from the machine around them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
from mlflow.data.dataset import Dataset
from mlflow.data.dataset_source import DatasetSource
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_SOURCE_NAME,
    MLFLOW_USER,
)

from flows.home import Home
from medsynth.core.stage import RECEIPT, Artifact

_DIGEST_CHARS = 32  # MLflow keeps at most 36; the source holds the whole digest
_PARAMS_PER_CALL = 100
_METRICS_PER_CALL = 500


class DigestSource(DatasetSource):
    """Where data came from, as a digest alone: a path could name a person."""

    def __init__(self, digest: str) -> None:
        self.digest = digest

    @staticmethod
    def _get_source_type() -> str:
        return "medsynth-digest"

    def load(self) -> Any:
        """Refuses: data is found by who holds it, not by MLflow."""
        raise NotImplementedError("a digest names data and does not lead to it")

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> "DigestSource":
        raise NotImplementedError("a digest source is made from its digest")

    def to_dict(self) -> dict[str, str]:
        """The digest."""
        return {"digest": self.digest}

    @classmethod
    def from_dict(cls, source_dict: dict[str, str]) -> "DigestSource":
        """The source that `to_dict` wrote."""
        return cls(source_dict["digest"])


class StageDataset(Dataset):
    """A stage folder as MLflow's lineage knows it: name and digest."""

    def __init__(self, name: str, digest: str) -> None:
        super().__init__(DigestSource(digest), name=name, digest=digest[:_DIGEST_CHARS])

    def _compute_digest(self) -> str:
        return str(self.digest)

    def to_dict(self) -> dict[str, str]:
        """The fields MLflow stores."""
        return {**super().to_dict(), "profile": "{}", "schema": "{}"}

    @property
    def profile(self) -> dict[str, Any]:
        """Nothing: numbers of a data set stand in its stage's metrics."""
        return {}

    @property
    def schema(self) -> dict[str, Any]:
        """Nothing: the attributes stand in the config."""
        return {}


@dataclass(frozen=True)
class Run:
    """One MLflow run."""

    client: MlflowClient
    run_id: str
    experiment_id: str

    def child(self, name: str) -> "Run":
        """A nested run."""
        tags = {MLFLOW_PARENT_RUN_ID: self.run_id}
        return _create(self.client, self.experiment_id, name, tags)

    def log_params(self, config: Mapping[str, Any]) -> None:
        """The resolved config, flattened."""
        params = [Param(name, str(value)) for name, value in flatten(config)]
        for some in _chunks(params, _PARAMS_PER_CALL):
            self.client.log_batch(self.run_id, params=some)

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Labels and digests."""
        self.client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def log_metrics(self, metrics: Sequence[Metric]) -> None:
        """Numbers, in as few calls as MLflow allows."""
        for some in _chunks(metrics, _METRICS_PER_CALL):
            self.client.log_batch(self.run_id, metrics=some)

    def log_numbers(self, numbers: Mapping[str, float]) -> None:
        """Numbers that have no step."""
        self.log_metrics([Metric(name, value, 0, 0) for name, value in numbers.items()])

    def log_stage(self, artifact: Artifact) -> None:
        """What made a stage: its receipt, its parents as datasets, its digests as tags."""
        receipt = artifact.receipt
        self.log_tags(
            {
                "medsynth.stage": receipt["stage"],
                "medsynth.digest": artifact.digest,
                "medsynth.code": receipt["code"],
                "medsynth.reused": str(artifact.reused).lower(),
            }
        )
        tag = [InputTag(MLFLOW_DATASET_CONTEXT, receipt["stage"])]
        inputs = [
            DatasetInput(StageDataset(name, digest)._to_mlflow_entity(), tag)
            for name, digest in receipt["parents"].items()
            if digest  # a cohort of somebody else has no model
        ]
        self.client.log_inputs(self.run_id, inputs)
        self.client.log_text(self.run_id, json.dumps(receipt, indent=1), RECEIPT)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """One file as an artifact."""
        self.client.log_artifact(self.run_id, str(path), folder)

    def log_picture(self, picture: Any, name: str) -> None:
        """A PIL image as an artifact; of accepted synthetic scans only."""
        self.client.log_image(self.run_id, picture, artifact_file=name)

    def end(self, *, failed: bool) -> None:
        """Close the run."""
        self.client.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")


def start_run(home: Home, name: str) -> Run:
    """A run in the experiment of a data set, at the home's tracking store."""
    mlflow.set_tracking_uri(home.tracking_uri)  # what registers a model knows no client
    client = MlflowClient()
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        experiment_id = client.create_experiment(name, artifact_location=home.artifact_location)
    else:
        experiment_id = experiment.experiment_id
    return _create(client, experiment_id, name, {})


def _create(client: MlflowClient, experiment_id: str, name: str, tags: Mapping[str, str]) -> Run:
    labels = {
        MLFLOW_USER: "medsynth",
        MLFLOW_SOURCE_NAME: "medsynth",
        "medsynth.version": version("medsynth"),
        **tags,
    }
    run = client.create_run(experiment_id, run_name=name, tags=labels)
    return Run(client, run.info.run_id, experiment_id)


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names of every leaf; a list is one leaf."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value) if isinstance(value, list) else value
