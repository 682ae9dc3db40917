"""The model registry: the generator under the config's name, and what its aliases promise.

`candidate` is the newest trained generator. `audited` is set by `promote` alone, and only on
the version that a valid PASS certificate of data scope, signed by our key, speaks of.
"""

import shutil
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array

from flows.tracking import Run
from medsynth.core.certificate import Certificate
from medsynth.core.errors import CertificateInvalid
from medsynth.core.keys import Keys
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.core.stage import Artifact, open_stage
from privacy.verdict import recompute

CANDIDATE = "candidate"
AUDITED = "audited"
MODEL_DIGEST = "medsynth.model_digest"
_MODEL_CODE = Path(__file__).with_name("generator_model.py")


def register(
    run: Run, name: str, checkpoint: Artifact, schema: AttributeSchema, defaults: dict[str, Any]
) -> str:
    """The version of this checkpoint, registered once, with the alias `candidate`.

    `defaults` are the values of seed, num_steps and guidance where a caller gives none.
    """
    found = find_version(run.client, name, checkpoint.digest)
    version = str(found.version) if found else _register(run, name, checkpoint, schema, defaults)
    run.client.set_registered_model_alias(name, CANDIDATE, version)
    return version


def find_version(client: MlflowClient, name: str, model_digest: str) -> ModelVersion | None:
    """The registered version of a model digest."""
    found = client.search_model_versions(f"name = '{name}'")
    return next((v for v in found if v.tags.get(MODEL_DIGEST) == model_digest), None)


def promote(client: MlflowClient, name: str, certificate: Certificate, keys: Keys) -> str:
    """Set `audited` on the version that the certificate speaks of; the only place that does.

    Raises CertificateInvalid unless the certificate is in force, signed by our key, a PASS of
    data scope by its own gate rows, and names the weights that the registry really holds.
    """
    certificate.check(trusted=[keys.public_key])
    body = certificate.body
    word = recompute(body).word
    if word != "PASS" or body["scope"] != "data":
        raise CertificateInvalid(
            f"the alias {AUDITED} needs a PASS of data scope, got {word} of {body['scope']}"
        )
    version = find_version(client, name, body["digests"]["model"] or "")
    if version is None or _stored_digest(client, version) != body["digests"]["model"]:
        raise CertificateInvalid(f"no registered version of {name} has the certificate's digest")
    client.set_registered_model_alias(name, AUDITED, version.version)
    return str(version.version)


def _register(
    run: Run, name: str, checkpoint: Artifact, schema: AttributeSchema, defaults: dict[str, Any]
) -> str:
    # MLflow writes the addresses of code and artifacts into the model: a passing folder, and a
    # name relative to OUT, tell nothing of ours.
    here, run_again = chdir(checkpoint.path.parent), mlflow.start_run(run_id=run.run_id)
    with TemporaryDirectory() as place, here, run_again:
        code = shutil.copy(_MODEL_CODE, place)
        mlflow.pyfunc.log_model(
            name="generator",
            python_model=code,
            artifacts={"checkpoint": checkpoint.path.name},
            signature=_signature(schema, defaults),
            input_example=_example(schema),
            pip_requirements=["medsynth"],
            registered_model_name=name,
            await_registration_for=0,
        )
    newest = max(run.client.search_model_versions(f"name = '{name}'"), key=lambda v: int(v.version))
    run.client.set_model_version_tag(name, newest.version, MODEL_DIGEST, checkpoint.digest)
    return str(newest.version)


def _stored_digest(client: MlflowClient, version: ModelVersion) -> str:
    """Digest of the checkpoint that the registry holds, after every file was checked."""
    with TemporaryDirectory() as folder:
        source = f"models:/{version.name}/{version.version}"
        model = mlflow.artifacts.download_artifacts(source, dst_path=folder)
        return open_stage(Path(model) / "artifacts" / "checkpoint").digest


def _signature(schema: AttributeSchema, defaults: dict[str, Any]) -> ModelSignature:
    inputs = [ColSpec(_column_type(a), name=a.name, required=False) for a in schema]
    image = Array(Array(Array(DataType.float)))
    outputs = [
        ColSpec(image, name="image"),
        ColSpec(DataType.boolean, name="unscreened"),
        ColSpec(DataType.string, name="note"),
    ]
    kinds = {int: DataType.long, float: DataType.double}
    params = [ParamSpec(name, kinds[type(value)], value) for name, value in defaults.items()]
    return ModelSignature(Schema(inputs) if inputs else None, Schema(outputs), ParamSchema(params))


def _column_type(attribute: Attribute) -> DataType:
    return DataType.double if attribute.is_numeric else DataType.string


def _example(schema: AttributeSchema) -> pd.DataFrame:
    """One row of ordinary values: the middle of a range, the first of a list."""
    return pd.DataFrame([{a.name: _ordinary(a) for a in schema}])


def _ordinary(attribute: Attribute) -> float | str | None:
    if attribute.is_numeric:
        return ((attribute.low or 0.0) + (attribute.high or 1.0)) / 2
    return attribute.values[0] if attribute.values else None
