"""The judge is given every way into our own generator, and takes those that the policy asks for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")
EVERYTHING = str(Path(__file__).with_name("everything.toml"))


@pytest.fixture(scope="module")
def stages(first_run: Any) -> dict[str, Any]:
    return {artifact.path.name: artifact for artifact in first_run.stages}


@pytest.fixture(scope="module")
def everything(first_run: Any, stages: dict[str, Any], make_job: Callable[[Path], Any]) -> Any:
    """The small run's cohort, audited again by a policy that asks for all there is."""
    from flows.audit import audit_flow

    job = make_job(first_run.out.parent / "again").model_copy(update={"policy": EVERYTHING})
    roots = {name: stages[name].path for name in ("prepared", "checkpoint")}
    return audit_flow(job, stages["cohort"].path, roots)


def _results(outcome: Any) -> dict[tuple[str, str], str]:
    return {(row["gate"], row["kind"]): row["result"] for row in outcome.audit["gates"]}


def test_whatever_can_be_run_is_run(everything: Any) -> None:
    not_run = {key for key, result in _results(everything).items() if result == "NOT_RUN"}
    too_few = {("membership", kind) for kind in ("tpr_1", "tpr_01", "worst_stratum")}
    no_claim = {("differential_privacy", "epsilon"), ("differential_privacy", "delta")}
    assert not_run <= too_few | no_claim | {("canary", "beyond_claim")}
    assert no_claim <= not_run


def test_its_certificate_verifies(everything: Any) -> None:
    from medsynth.core.certificate import Certificate
    from privacy.verdict import recompute

    found = Certificate.read(everything.path("evidence") / "certificate.json")
    found.check(trusted=None)
    assert recompute(found.body).word == found.verdict
    said = " ".join(found.body["does_not_show"])
    assert "not run: a bound that holds whatever the attack" in said


def test_the_twin_leaves_nothing_behind(everything: Any) -> None:
    out = everything.out.parent
    assert not list((out / ".partial").glob("*"))
    names = {path.name for path in out.rglob("*")}
    assert not any("canary" in name for name in names)


def test_a_policy_that_does_not_ask_gets_no_twin(stages: dict[str, Any], tmp_path: Path) -> None:
    from flows.ways import ways_into
    from privacy.policy import read_policy

    given = [stages[name] for name in ("checkpoint", "cohort", "prepared")]
    plain = ways_into(*given, read_policy("demo"), tmp_path).given
    assert not plain["train_twin"]
    assert not plain["claim"]
    assert all(plain[name] for name in plain if name not in ("train_twin", "claim"))
    full = ways_into(*given, read_policy(EVERYTHING), tmp_path).given
    assert full["train_twin"]


def test_a_cohort_of_another_maker_is_not_redrawn(stages: dict[str, Any], tmp_path: Path) -> None:
    from flows.ways import ways_into
    from privacy.policy import read_policy

    foreign = stages["manifest"]
    found = ways_into(stages["checkpoint"], foreign, None, read_policy(EVERYTHING), tmp_path)
    assert found.redraw is None
    assert found.train_twin is None
    assert found.denoiser is not None


def test_grids_are_the_cells_that_training_counted(stages: dict[str, Any]) -> None:
    from flows.ways import grids_of
    from medsynth.checkpoint import load_generator
    from medsynth.core.manifest import Manifest

    generator = load_generator(stages["checkpoint"].path)
    train = Manifest.read(stages["prepared"].path).fold("train")
    for grid, block in zip(grids_of(generator), generator.cells.blocks, strict=True):
        inside: dict[Any, set[str]] = {}
        for scan in train:
            inside.setdefault(grid.cell(scan.attributes), set()).add(scan.subject_id)
        assert sorted(map(len, inside.values())) == sorted(cell.count for cell in block)


def test_a_private_training_has_a_private_twin(stages: dict[str, Any], tmp_path: Path) -> None:
    import numpy as np

    from flows.twin import twin_trainer
    from flows.ways import ways_into
    from medsynth.core.manifest import Manifest, load_arrays
    from medsynth.core.stage import Request, produce
    from medsynth.train.config import TrainConfig
    from medsynth.train.dp_config import DpConfig
    from medsynth.train.train import train
    from privacy.policy import read_policy

    manifest = Manifest.read(stages["prepared"].path).fold("train")

    def build(folder: Path) -> None:
        for scan in manifest:
            (folder / scan.path).parent.mkdir(exist_ok=True)
            (folder / scan.path).symlink_to(stages["prepared"].path / scan.path)
        manifest.write(folder)

    ours = produce(tmp_path, Request("prepared", {}, {"of": "another archive"}, "test"), build)
    config = TrainConfig.model_validate(stages["checkpoint"].receipt["config"])
    private = config.model_copy(update={"dp": DpConfig(epsilon=8.0, subjects_per_step=8)})
    _, checkpoint = train(ours, tmp_path, private, public_autoencoder=stages["checkpoint"])
    found = ways_into(checkpoint, stages["cohort"], ours, read_policy(EVERYTHING), tmp_path)
    assert found.claim is not None
    assert found.claim.epsilon <= 8
    volumes = load_arrays(ours.path, manifest.scans[:4]).astype(np.float32)
    assert found.train_twin is not None
    twin = found.train_twin(volumes, [scan.attributes for scan in manifest.scans[:4]])
    assert np.array_equal(twin.encode(volumes), found.denoiser.encode(volumes))
    noise, condition = np.zeros_like(twin.encode(volumes)), twin.condition(None)
    told = [d.predict(noise, 0.5, condition)[0] for d in (twin, found.denoiser)]
    assert not np.allclose(*told)
    assert twin_trainer(checkpoint, stages["prepared"], tmp_path) is None
