"""The registered generator, and the only way to the alias `audited`."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_candidate_turns_a_table_into_images_without_pickle(first_run: Any) -> None:
    import os

    import mlflow
    import numpy as np
    import pandas as pd

    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    mlflow.set_tracking_uri(first_run.tracking_uri)
    model = mlflow.pyfunc.load_model("models:/tiny@candidate")
    table = model.predict(pd.DataFrame({"sex": ["F", "M", None]}), params={"num_steps": 2})
    images = np.array(table["image"].tolist())
    assert images.shape == (3, 32, 32, 1)
    assert 0 <= images.min() < images.max() <= 1
    assert table["unscreened"].all()


def test_the_registry_holds_safetensors_and_no_pickle(first_run: Any, tmp_path: Path) -> None:
    import mlflow

    mlflow.set_tracking_uri(first_run.tracking_uri)
    uri = "models:/tiny@candidate"
    folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path)))
    kinds = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert ".safetensors" in kinds
    assert not kinds & {".pkl", ".pickle", ".pt", ".pth", ".bin"}


def _certificate(first_run: Any, keys: Any, **changes: Any) -> Any:
    """The run's own certificate with every gate turned to PASS, signed again by `keys`."""
    from medsynth.core.certificate import Certificate, sign_certificate

    found = Certificate.read(first_run.path("evidence") / "certificate.json")
    body = json.loads(json.dumps(dict(found.body)))
    return sign_certificate({**body, **changes}, keys)


def _promote(first_run: Any, certificate: Any, keys: Any) -> str:
    import mlflow

    from flows.registry import promote

    mlflow.set_tracking_uri(first_run.tracking_uri)
    return promote(mlflow.MlflowClient(), "tiny", certificate, keys)


def test_an_inconclusive_certificate_promotes_nothing(first_run: Any) -> None:
    from medsynth.core.errors import CertificateInvalid
    from medsynth.core.keys import DEMO_KEYS

    with pytest.raises(CertificateInvalid, match="needs a PASS"):
        _promote(first_run, _certificate(first_run, DEMO_KEYS), DEMO_KEYS)


def test_a_pass_that_its_gates_do_not_bear_out_promotes_nothing(first_run: Any) -> None:
    from medsynth.core.errors import CertificateInvalid
    from medsynth.core.keys import DEMO_KEYS

    claimed = _certificate(first_run, DEMO_KEYS, verdict="PASS")
    with pytest.raises(CertificateInvalid, match="does not follow"):
        _promote(first_run, claimed, DEMO_KEYS)


def test_a_certificate_of_other_keys_promotes_nothing(first_run: Any, home: Path) -> None:
    from flows.home import Home
    from medsynth.core.errors import CertificateInvalid
    from medsynth.core.keys import DEMO_KEYS

    theirs = _certificate(first_run, Home(home).keys(), verdict="PASS")
    with pytest.raises(CertificateInvalid, match="trusted key"):
        _promote(first_run, theirs, DEMO_KEYS)


def test_a_pass_promotes_the_version_it_names_and_no_other(
    first_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the gates' arithmetic is taken as given; sixty phantoms cannot earn a PASS."""
    import mlflow

    from flows import registry
    from medsynth.core.errors import CertificateInvalid
    from medsynth.core.keys import DEMO_KEYS
    from privacy.verdict import Verdict

    monkeypatch.setattr(registry, "recompute", lambda body: Verdict("PASS", ()))
    digests = dict(_certificate(first_run, DEMO_KEYS).body["digests"])
    for wrong in ({"digests": {**digests, "model": "0" * 64}}, {"scope": "model"}):
        with pytest.raises(CertificateInvalid):
            _promote(first_run, _certificate(first_run, DEMO_KEYS, **wrong), DEMO_KEYS)
    version = _promote(first_run, _certificate(first_run, DEMO_KEYS), DEMO_KEYS)
    named = mlflow.MlflowClient().get_model_version_by_alias("tiny", "audited")
    assert str(named.version) == version
    assert named.tags["medsynth.model_digest"] == digests["model"]


def test_one_line_of_the_source_sets_the_alias() -> None:
    """`set_registered_model_alias` is called twice, once for each alias, in registry.py alone."""
    calls = [
        (path.name, ast.unparse(node.args[1]))
        for path in Path(__file__).parents[2].joinpath("flows").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and "set_registered_model_alias" in ast.unparse(node.func)
    ]
    assert sorted(calls) == [("registry.py", "AUDITED"), ("registry.py", "CANDIDATE")]
