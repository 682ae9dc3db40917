"""Flow of an import: from somebody else's weights to a checkpoint, a registered candidate."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow, task

from flows.answer import Answer
from flows.facts import Outcome
from flows.job import Job
from flows.session import TASK, Session, open_session
from flows.summary import stage_answer
from flows.train import register_candidate
from medsynth.checkpoint import has_denoiser
from medsynth.convert.checkpoint import import_checkpoint, read_import
from medsynth.core.stage import Artifact


@task(name="import-checkpoint", **TASK)
def import_networks(session: Session, source: Path) -> Artifact:
    """Stage checkpoint/; registered where scans can be drawn from it."""
    with session.stage("checkpoint") as stage:
        artifact = import_checkpoint(source, session.out, session.config.convert)
        facts = {
            f"{kind}_{name}": network[name]
            for kind, network in read_import(artifact.path).items()
            for name in ("num_weights", "num_left_out", "difference")
            if network[name] is not None
        }
        stage.finish(artifact, facts)
        if has_denoiser(artifact.path):
            register_candidate(session, stage, artifact)
    return artifact


@flow(name="medsynth-import-checkpoint", persist_result=False)
def import_flow(job: Job, source: Path) -> Outcome:
    """Bring a foreign checkpoint over."""
    with open_session(job, needs_keys=False) as session:
        import_networks(session, source)
        return session.outcome()


def import_answer(outcome: Outcome) -> Answer:
    """What each network was found to be, how it was proved, and what nobody told."""
    assert outcome.out is not None
    networks = read_import(outcome.out)
    answer = stage_answer(outcome, networks=networks)
    told = [line for kind, network in networks.items() for line in _lines(kind, network)]
    return replace(answer, lines=(*told, *answer.lines))


def _lines(kind: str, network: Mapping[str, Any]) -> tuple[str, str]:
    assumed = ", ".join(f"{name} = {value}" for name, value in network["assumed"].items())
    weights = f"{network['num_weights']} weights, {network['num_left_out']} never applied"
    return (
        f"{kind}: {network['proof']} ({weights})",
        f"{kind}: assumed, for nobody told: {assumed or 'nothing'}",
    )
