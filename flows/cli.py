"""The command line: one verb per stage, exit codes that scripts can read, JSON where they ask.

Only Typer is imported here. What a verb needs is imported when it runs, after the environment
of Prefect and MLflow was set.
"""

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.answer import FAILED, USAGE, Answer, refusal, stop
from flows.ending import ending_in_time
from medsynth.core.errors import MedsynthError

if TYPE_CHECKING:
    from flows.verbs import Verbs

app = typer.Typer(
    name="medsynth",
    help="Synthetic medical scans that may leave the building, with the evidence that they may.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(
    help="The secrets: subject ids, signature, vault.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(keys_app, name="keys")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show Prefect's and MLflow's own logs.")]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML with what changes from the defaults.")
]
Out = Annotated[Path, typer.Argument(help="Parent folder; the verb writes OUT/STAGE/.")]
_SOURCE_HELP = "Folder of scans, or dicomweb://HOST/ROOT, dicomwebs://, dimse://AET@HOST:PORT."
Table = Annotated[
    Path | None, typer.Option("--attributes", help="Table of attributes that joins the scans.")
]
Masks = Annotated[
    Path | None, typer.Option("--masks", help="Folder of masks to draw scans with, in turn.")
]
Texts = Annotated[
    Path | None, typer.Option("--texts", help="CSV file of texts to draw scans with, in turn.")
]
Way = Literal["distill", "prune", "bf16", "int8"]
Policy = Annotated[
    str | None, typer.Option("--policy", help="Name or file of the policy; else the config's.")
]


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Where everything goes.")] = Path("demo"),
    small: Annotated[bool, typer.Option("--small", help="Smaller images, fewer steps.")] = False,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """The whole way on a phantom archive that it writes itself: no network, a few minutes."""
    return _verbs(verbose).demo(out.absolute(), small)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="TOML with what changes from the defaults.")],
    source: Annotated[str, typer.Option("--source", help=_SOURCE_HELP)],
    out: Annotated[Path, typer.Option("--out", help="Parent of every stage folder.")],
    attributes: Table = None,
    masks: Masks = None,
    texts: Texts = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """The whole pipeline, from scans to a release or the reason why there is none."""
    return _verbs(verbose).run(config, source, out.absolute(), attributes, masks, texts)


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help=_SOURCE_HELP)],
    out: Out,
    attributes: Table = None,
    retry_dead: Annotated[
        bool, typer.Option("--retry-dead", help="Ask again for series that a PACS failed to give.")
    ] = False,
    config: Config = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """Read an archive: de-identified volumes and a quarantine for what cannot be read."""
    return _verbs(verbose).ingest(source, out.absolute(), attributes, config, retry_dead)


@app.command()
def deidentify(
    source: Annotated[Path, typer.Argument(help="Folder of DICOM files.")],
    out: Out,
    config: Config = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """Rewrite DICOM without identifiers: PS3.15 Annex E, default deny."""
    return _verbs(verbose).deidentify(source, out.absolute(), config)


@app.command()
def people(
    manifest: Annotated[Path, typer.Argument(help="Stage folder of `ingest`.")],
    out: Out,
    config: Config = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """List pairs of subjects who may be one person, and damaged scans, for a person's review."""
    return _verbs(verbose).people(manifest, out.absolute(), config)


@app.command()
def prepare(
    manifest: Annotated[Path, typer.Argument(help="Stage folder of `ingest`.")],
    out: Out,
    people: Annotated[
        Path | None, typer.Option("--people", help="The reviewed pairs.csv of `people`.")
    ] = None,
    config: Config = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """Bring volumes onto the model's grid and put subjects into folds."""
    return _verbs(verbose).prepare(manifest, out.absolute(), people, config)


@app.command()
def train(
    prepared: Annotated[Path, typer.Argument(help="Stage folder of `prepare`.")],
    out: Out,
    dp: Annotated[
        bool, typer.Option("--dp", help="With differential privacy, by subject.")
    ] = False,
    public_autoencoder: Annotated[
        Path | None,
        typer.Option("--public-autoencoder", help="Checkpoint trained on scans of nobody here."),
    ] = None,
    config: Config = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """Learn a generator from the training fold; goes on where a killed run stopped."""
    return _verbs(verbose).train(prepared, out.absolute(), config, public_autoencoder, dp)


@app.command("import-checkpoint")
def import_checkpoint(
    source: Annotated[
        Path, typer.Argument(help="File of weights, or folder with a file for each network.")
    ],
    out: Out,
    config: Config = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """Bring networks of MONAI's archived `generative` package over, exactly or not at all."""
    return _verbs(verbose).import_checkpoint(source, out.absolute(), config)


@app.command()
def sample(
    checkpoint: Annotated[Path, typer.Argument(help="Stage folder of `train`.")],
    out: Out,
    plan: Annotated[Path | None, typer.Option("--plan", help="TOML of the cohort wanted.")] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="How many scans.")] = None,
    where: Annotated[
        str | None, typer.Option("--where", help='Such as "sex=F age=60..80".')
    ] = None,
    index: Annotated[
        list[str] | None,
        typer.Option("--index", help="Only these scans of the plan: 417, or 400..420."),
    ] = None,
    masks: Masks = None,
    texts: Texts = None,
    policy: Policy = None,
    config: Config = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """Draw a cohort of synthetic scans with the attributes asked for."""
    wanted = {"plan": plan, "count": count, "where": where, "index": index or ()}
    return _verbs(verbose).sample(checkpoint, out.absolute(), wanted, policy, config, masks, texts)


@app.command()
def audit(
    cohort: Annotated[Path, typer.Argument(help="Stage folder, or images with metadata.csv.")],
    out: Out,
    prepared: Annotated[
        Path | None, typer.Option("--prepared", help="Stage folder that holds all folds.")
    ] = None,
    train: Annotated[Path | None, typer.Option("--train", help="Scans learned from.")] = None,
    control: Annotated[Path | None, typer.Option("--control", help="Scans never seen.")] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Scans that set the threshold.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="Scans that check the threshold, once.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="The generator, where there is one.")
    ] = None,
    earlier: Annotated[
        list[Path] | None,
        typer.Option("--earlier", help="Accepted scans that left before, where they were moved."),
    ] = None,
    policy: Policy = None,
    config: Config = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """Screen a cohort against real scans and certify what passed: PASS, FAIL or INCONCLUSIVE."""
    folds = {"train": train, "control": control, "calibration": calibration, "test": test}
    roots = {"prepared": prepared, **folds, "checkpoint": checkpoint}
    return _verbs(verbose).audit(cohort, out.absolute(), roots, policy, config, earlier or ())


@app.command()
def evaluate(
    accepted: Annotated[Path, typer.Argument(help="Stage folder of `audit`: accepted/.")],
    out: Out,
    prepared: Annotated[
        Path | None, typer.Option("--prepared", help="Real scans; else beside ACCEPTED or in OUT.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="Generator whose autoencoder is measured by itself."),
    ] = None,
    shown: Annotated[
        Path | None, typer.Option("--shown", help="Screened views, for what attributes change.")
    ] = None,
    config: Config = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """Measure fidelity, diversity and attributes, each beside its real-versus-real floor."""
    return _verbs(verbose).evaluate(accepted, out.absolute(), prepared, checkpoint, shown, config)


@app.command()
def compare(
    prepared: Annotated[Path, typer.Argument(help="Stage folder of `prepare`.")],
    out: Out,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Training time of each model.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Seeds of the trainings, joined by commas.")
    ] = None,
    config: Config = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """Why diffusion: our model, a GAN and a VQ-VAE with a transformer, in the same time."""
    return _verbs(verbose).compare(prepared, out.absolute(), minutes, seeds, config)


@app.command()
def compress(
    checkpoint: Annotated[Path, typer.Argument(help="Stage folder of `train`.")],
    out: Out,
    by: Annotated[Way, typer.Option("--by", help="Fewer steps, channels or bits.")],
    prepared: Annotated[
        Path | None,
        typer.Option("--prepared", help="Real scans; else beside CHECKPOINT or in OUT."),
    ] = None,
    config: Config = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """Make a generator smaller or faster, and keep it only where nothing is worse."""
    return _verbs(verbose).compress(checkpoint, out.absolute(), by, prepared, config)


@app.command()
def release(
    accepted: Annotated[Path, typer.Argument(help="Stage folder of `audit`: accepted/.")],
    certificate: Annotated[Path, typer.Argument(help="The certificate, or evidence/ with it.")],
    out: Out,
    format: Annotated[str, typer.Option("--format", help="Formats, joined by commas.")] = "bids",
    evaluation: Annotated[
        Path | None, typer.Option("--evaluation", help="Stage folder of `evaluate`.")
    ] = None,
    config: Config = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """Pack what the certificate allows to leave; refused without a valid PASS."""
    formats = tuple(format.split(","))
    return _verbs(verbose).release(
        accepted, certificate, out.absolute(), formats, evaluation, config
    )


@app.command()
def serve(
    config: Annotated[
        Path | None, typer.Option("--config", help="Config of the pipeline, for every deployment.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help=_SOURCE_HELP)] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Parent of every stage.")] = None,
    attributes: Table = None,
    every: Annotated[
        float | None,
        typer.Option("--every", min=1, help="Seconds between runs, in place of the schedules."),
    ] = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """Run the nightly ingest and the weekly pipeline of prefect.yaml from this checkout."""
    roots = {"config": config, "source": source, "out": out, "attributes": attributes}
    return _verbs(verbose).serve(roots, every)


@app.command()
def verify(
    release: Annotated[Path, typer.Argument(help="The release folder.")],
    trusted_key: Annotated[
        Path | None, typer.Option("--trusted-key", help="File with the public key to trust.")
    ] = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> Answer:
    """Recompute every digest and signature of a release; needs no private data."""
    return _verbs(verbose).verify(release, trusted_key)


@keys_app.command("init")
def keys_init(json: AsJson = False, verbose: Verbose = False) -> Answer:
    """Write fresh secrets to MEDSYNTH_KEYS, else to MEDSYNTH_HOME; never overwrites any."""
    return _verbs(verbose).init_keys()


def _verbs(verbose: bool) -> "Verbs":
    """What the verbs do, imported late."""
    if not verbose:
        import warnings

        warnings.simplefilter("ignore")
    from flows.verbs import Verbs

    return Verbs(verbose)


_TYPERS_INTERRUPT = 130
"""What Typer makes of a KeyboardInterrupt."""


def answer(arguments: list[str]) -> Answer:
    """Run one command line; whatever happens becomes an answer."""
    try:
        given = app(arguments, prog_name="medsynth", standalone_mode=False)
    except typer.TyperException as error:
        _show_usage(error)
        return stop(getattr(error, "exit_code", USAGE), "usage", error.format_message())
    except MedsynthError as error:
        print(f"medsynth: {error}", file=sys.stderr)
        return refusal(error)
    except (typer.Abort, KeyboardInterrupt):
        return stop(FAILED, "interrupted", "interrupted")
    except Exception as error:
        return _unexpected(error, "--verbose" in arguments)
    if given == _TYPERS_INTERRUPT:
        return stop(FAILED, "interrupted", "interrupted")
    return given if isinstance(given, Answer) else Answer(exit_code=int(given or 0))


def _show_usage(error: typer.TyperException) -> None:
    show: Callable[[], None] | None = getattr(error, "show", None)
    if show:
        show()


def _unexpected(error: Exception, verbose: bool) -> Answer:
    """A fault of ours: its text may name an input, so only a watching person may ask for it."""
    if verbose:
        import traceback

        traceback.print_exception(error)
    message = f"an unexpected {type(error).__name__}; --verbose shows where"
    print(f"medsynth: {message}", file=sys.stderr)
    return stop(FAILED, "unexpected", message)


def main() -> None:
    """The command `medsynth`."""
    start, arguments = time.monotonic(), sys.argv[1:]
    # So that what runs behind a verb, such as Prefect's own server, is ended with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ending_in_time():
        given = answer(arguments)
    if "--json" in arguments:
        print(given.to_json(time.monotonic() - start, next(iter(arguments), "")), flush=True)
    else:
        given.show()
    sys.exit(given.exit_code)


if __name__ == "__main__":
    main()
