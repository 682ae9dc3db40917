"""What each verb does: set the environment, call its flow, turn the outcome into an answer.

Each verb imports its own flow, after the environment was set: Prefect reads it when imported.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.answer import Answer
from flows.home import (
    Home,
    require_folder,
    require_one_process,
    require_prefect_server,
    set_environment,
)
from medsynth.core.errors import UsageProblem
from medsynth.ingest.pacs.address import is_address, parse_address

if TYPE_CHECKING:
    from flows.job import Job
    from medsynth.compress.candidate import By

Roots = Mapping[str, Path | None]
ServeRoots = Mapping[str, Path | str | None]


class Verbs:
    """The verbs of the command line."""

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose

    def demo(self, out: Path, small: bool) -> Answer:
        """The whole way on phantoms."""
        set_environment(Home(out / "home", is_demo=True), verbose=self._verbose)

        def job() -> "Job":
            from flows.demo import demo_job

            return demo_job(out, small=small)

        return _whole_way(job)

    def run(
        self,
        config: Path,
        source: str,
        out: Path,
        attributes: Path | None,
        masks: Path | None = None,
        texts: Path | None = None,
    ) -> Answer:
        """The whole pipeline."""
        given = {"attributes": attributes, "masks": masks, "texts": texts}
        roots = {name: _absolute(path) for name, path in given.items()}
        job = self._job(out, config, source=_source(source), **roots)
        return _whole_way(lambda: job)

    def ingest(
        self,
        source: str,
        out: Path,
        attributes: Path | None,
        config: Path | None,
        retry_dead: bool = False,
    ) -> Answer:
        """Stage manifest/."""
        roots = {"source": _source(source), "attributes": _absolute(attributes)}
        job = self._job(out, config, retry_dead=retry_dead, **roots)
        from flows.ingest import ingest_flow
        from flows.summary import ingest_answer

        return ingest_answer(ingest_flow(job))

    def deidentify(self, source: Path, out: Path, config: Path | None) -> Answer:
        """Stage deidentified/."""
        job = self._job(out, config, source=_folder(source))
        from flows.ingest import deidentify_flow
        from flows.summary import deidentify_answer

        return deidentify_answer(deidentify_flow(job))

    def people(self, manifest: Path, out: Path, config: Path | None) -> Answer:
        """Stage people/."""
        job = self._job(out, config, needs_keys=False)
        from flows.people import people_answer, people_flow

        return people_answer(people_flow(job, _folder(manifest)))

    def prepare(
        self, manifest: Path, out: Path, people: Path | None, config: Path | None
    ) -> Answer:
        """Stage prepared/."""
        job = self._job(out, config)
        from flows.ingest import prepare_flow
        from flows.people import apply_review, prepare_answer

        review = _absolute(people)
        if review is not None:
            apply_review(job, _folder(manifest), review)
        return prepare_answer(prepare_flow(job, _folder(manifest)))

    def train(
        self,
        prepared: Path,
        out: Path,
        config: Path | None,
        public_autoencoder: Path | None = None,
        is_private: bool = False,
    ) -> Answer:
        """Stages latents/ and checkpoint/; under torchrun the first process answers for all."""
        self._open_home()
        from medsynth.train.ranks import together

        with together() as share:
            if not share.is_first:
                from flows.follow import follow_training

                raise SystemExit(follow_training(share, _folder(prepared), out, config))
            job = self._job(out, config, needs_keys=False, is_alone=False)
            from flows.summary import stage_answer
            from flows.train import train_flow

            public = _folder(public_autoencoder) if public_autoencoder else None
            return stage_answer(train_flow(job, _folder(prepared), public, is_private))

    def import_checkpoint(self, source: Path, out: Path, config: Path | None) -> Answer:
        """Stage checkpoint/ from somebody else's weights."""
        job = self._job(out, config, needs_keys=False)
        given = _absolute(source)
        assert given is not None
        from flows.convert import import_answer, import_flow

        return import_answer(import_flow(job, given))

    def sample(
        self,
        checkpoint: Path,
        out: Path,
        wanted: Mapping[str, Any],
        policy: str | None,
        config: Path | None,
        masks: Path | None = None,
        texts: Path | None = None,
    ) -> Answer:
        """Stage cohort/, or excerpt/ where indices are given."""
        given = {"masks": _absolute(masks), "texts": _absolute(texts)}
        job = self._job(out, config, needs_keys=False, policy=policy, **given)
        from flows.cohort_answer import cohort_answer
        from flows.config import parse_indices, read_config, read_plan
        from flows.generate import sample_flow

        base = read_config(job.config).sample
        plan = read_plan(wanted["plan"], base, count=wanted["count"], where=wanted["where"])
        indices = parse_indices(wanted["index"])
        return cohort_answer(sample_flow(job, _folder(checkpoint), plan, indices))

    def audit(
        self,
        cohort: Path,
        out: Path,
        roots: Roots,
        policy: str | None,
        config: Path | None,
        earlier: Sequence[Path] = (),
    ) -> Answer:
        """Stages accepted/ and evidence/."""
        job = self._job(out, config, policy=policy)
        from flows.audit import audit_flow
        from flows.summary import audit_answer

        given = {name: _folder(path) for name, path in roots.items() if path is not None}
        before = tuple(_folder(path) for path in earlier)
        return audit_answer(audit_flow(job, _folder(cohort), given, before))

    def evaluate(
        self,
        accepted: Path,
        out: Path,
        prepared: Path | None,
        checkpoint: Path | None,
        shown: Path | None,
        config: Path | None,
    ) -> Answer:
        """Stage evaluation/."""
        job = self._job(out, config, needs_keys=False)
        from flows.generate import evaluate_flow
        from flows.summary import evaluation_answer

        real = prepared or _beside(accepted, out, "prepared")
        cohort = _beside(accepted, out, "cohort")
        drawn = cohort if cohort.is_dir() else None
        generator = _folder(checkpoint) if checkpoint else None
        views = _folder(shown) if shown else None
        outcome = evaluate_flow(job, _folder(accepted), _folder(real), drawn, generator, views)
        return evaluation_answer(outcome)

    def compare(
        self,
        prepared: Path,
        out: Path,
        minutes: float | None,
        seeds: str | None,
        config: Path | None,
    ) -> Answer:
        """Stage comparison/."""
        given: dict[str, Any] = {} if minutes is None else {"minutes": minutes}
        if seeds is not None:
            given["seeds"] = seeds.split(",")
        job = self._job(out, config, needs_keys=False)
        from flows.compare import compare_flow
        from flows.summary import compare_answer

        return compare_answer(compare_flow(job, _folder(prepared), given))

    def compress(
        self, checkpoint: Path, out: Path, by: "By", prepared: Path | None, config: Path | None
    ) -> Answer:
        """Stages compression/ and, where the candidate is accepted, checkpoint/."""
        real = prepared or _beside(checkpoint, out, "prepared")
        job = self._job(out, config, needs_keys=False)
        from flows.compress import compress_flow
        from flows.summary import compress_answer

        return compress_answer(compress_flow(job, _folder(checkpoint), _folder(real), by))

    def release(
        self,
        accepted: Path,
        certificate: Path,
        out: Path,
        formats: tuple[str, ...],
        evaluation: Path | None,
        config: Path | None,
    ) -> Answer:
        """Stage release/."""
        job = self._job(out, config, formats=formats)
        from flows.release import release_flow
        from flows.summary import stage_answer

        signed = certificate / "certificate.json" if certificate.is_dir() else certificate
        report = out / "report" / "report.html"
        outcome = release_flow(
            job,
            _folder(accepted),
            signed.absolute(),
            _absolute(evaluation),
            report if report.is_file() else None,
        )
        return stage_answer(outcome)

    def serve(self, roots: ServeRoots, every_s: float | None) -> Answer:
        """Scheduled deployments, until interrupted."""
        self._open_home().keys()
        from flows.serve import serve_deployments

        serve_deployments(roots, every_s)
        return Answer()

    def verify(self, release: Path, trusted_key: Path | None) -> Answer:
        """Check a release."""
        from flows.verify import verify_answer

        return verify_answer(_folder(release), trusted_key)

    def init_keys(self) -> Answer:
        """Fresh secrets."""
        home = Home.default()
        keys = home.init_keys()
        fields = {"public_key": keys.public_key, "fingerprint": keys.fingerprint}
        lines = (f"keys written to {home.keys_file}", f"public key {keys.public_key}")
        return Answer(fields=fields, lines=lines)

    def _open_home(self) -> Home:
        home = Home.default()
        set_environment(home, verbose=self._verbose)
        return home

    def _job(
        self,
        out: Path,
        config: Path | None,
        *,
        needs_keys: bool = True,
        is_alone: bool = True,
        **fields: Any,
    ) -> "Job":
        home = self._open_home()
        if is_alone:
            require_one_process()
        if needs_keys:
            home.keys()  # stop now, before anything heavy
        require_prefect_server()
        from flows.job import Job

        return Job(out=out, config=_absolute(config), **fields)


def _whole_way(make_job: Callable[[], "Job"]) -> Answer:
    from flows.memory import PeakMemory

    with PeakMemory() as memory:
        job = make_job()
        from flows.pipeline import RunStopped, pipeline
        from flows.summary import pipeline_answer

        try:
            outcome, stopped = pipeline(job), None
        except RunStopped as error:
            outcome, stopped = error.outcome, error
    return pipeline_answer(outcome, memory.peak_bytes, stopped)


def _source(given: str) -> Path | str:
    """A folder, or an archive's address; raises UsageProblem where it is neither."""
    if is_address(given):
        parse_address(given)
        return given
    return _folder(Path(given))


def _folder(path: Path) -> Path:
    return require_folder(path, "an input")


def _absolute(path: Path | None) -> Path | None:
    if path is not None and not path.exists():
        raise UsageProblem("a file that was given does not exist")
    return path.absolute() if path else None


def _beside(stage: Path, out: Path, name: str) -> Path:
    """A stage folder that lies beside another one, or in OUT."""
    beside = stage.absolute().parent / name
    return beside if beside.is_dir() else out / name
