"""From prepared folds to a checkpoint: stages "latents" and "checkpoint"."""

from collections.abc import Callable
from pathlib import Path

from medsynth.checkpoint import best_device
from medsynth.core.digest import file_digest
from medsynth.core.errors import UsageProblem
from medsynth.core.stage import Artifact, Request, code_digest, produce
from medsynth.models.frame import Frame
from medsynth.text_encoder import TextEncoder, load_text_encoder, text_encoder_digest
from medsynth.train.config import TrainConfig
from medsynth.train.diffusion import build_checkpoint
from medsynth.train.dp_autoencoder import read_public_autoencoder
from medsynth.train.fold import TrainingFold, read_training_fold
from medsynth.train.latents import build_latents, encode_latents
from medsynth.train.preflight import fold_warnings
from medsynth.train.ranks import current_share, told_text
from medsynth.train.report import OnStep, StepReport, unheard

DEFAULTS = TrainConfig()
_LATENTS_FIELDS = {
    "autoencoder_kind",
    "autoencoder_channels",
    "autoencoder_patch",
    "autoencoder_cosines",
    "num_codes",
    "latent_channels",
    "autoencoder_steps",
    "autoencoder_batch",
    "autoencoder_learning_rate",
    "kl_weight",
    "latent_noise",
    "coarse_first",
    "edge_weight",
    "hard_weight",
    "commitment_weight",
    "perceptual_weight",
    "perceptual_steps",
    "adversarial_weight",
    "adversarial_start",
    "largest_shift",
    "largest_gain",
    "ema_lengths",
    "num_snapshots",
    "schedule",
    "patience",
    "validate_every",
    "report_every",
    "precision",
    "is_deterministic",
}


def train(
    prepared: Artifact,
    out: Path,
    config: TrainConfig = DEFAULTS,
    *,
    seed: int = 0,
    public_autoencoder: Artifact | None = None,
    on_step: OnStep = unheard,
) -> tuple[Artifact, Artifact]:
    """Train the autoencoder, then the denoiser on its latents; a killed run goes on.

    Only fold `train` is read. A tenth of its subjects steers: it stops a training early and picks
    the best averaged weights. A private training (`config.dp`) needs a public autoencoder, a
    checkpoint trained on other scans; there nobody steers. Several processes inside
    `ranks.together` train as one, and see the same folders; the first one writes and reports.
    """
    if config.dp is not None and public_autoencoder is None:
        raise UsageProblem(
            "private training (--dp) needs a public autoencoder (--public-autoencoder): one "
            "trained here without noise would give the scans away"
        )
    if config.dp is not None and current_share().world > 1:
        raise UsageProblem("private training runs in one process; start it without torchrun")
    fold = read_training_fold(prepared)
    texts = _text_encoder(config, fold)
    code = code_digest("medsynth.train")
    if current_share().is_first:
        on_step(StepReport("latents", 0, 0, {}, 0.0, warnings=fold_warnings(fold)))
    settings = config.model_dump(mode="json", exclude={"perceptual_weights", "text_encoder"})
    # What only the denoiser reads may change without another autoencoder.
    chosen = config.model_dump(mode="json", include=_LATENTS_FIELDS) | {"multiple": config.multiple}
    if public_autoencoder is None:
        latents = _produce(
            out,
            Request(
                "latents", {"prepared": prepared.digest} | _features(config), chosen, code, seed
            ),
            lambda folder: build_latents(folder, fold, config, seed, on_step),
        )
    else:
        latents = _encode(prepared, fold, out, config, public_autoencoder, code)
    parents = {"prepared": prepared.digest, "latents": latents.digest}
    if public_autoencoder is not None:
        parents["autoencoder"] = public_autoencoder.digest
    if config.text_encoder is not None:
        parents["text_encoder"] = text_encoder_digest(config.text_encoder)

    def build(folder: Path) -> None:
        build_checkpoint(
            folder,
            fold,
            latents,
            config,
            seed=seed,
            prepared_digest=prepared.digest,
            texts=texts,
            on_step=on_step,
        )

    return latents, _produce(out, Request("checkpoint", parents, settings, code, seed), build)


def _features(config: TrainConfig) -> dict[str, str]:
    """Digest of a local file of features, whose path no receipt holds."""
    local = config.perceptual_weights
    return {} if local is None else {"features": file_digest(local)}


def _text_encoder(config: TrainConfig, fold: TrainingFold) -> TextEncoder | None:
    """The encoder of a local folder, before any work; raises UsageProblem where none has to read.

    As with features, receipts hold its files' digest and never its path.
    """
    if config.text_encoder is None:
        return None
    if not any(attribute.kind == "text" for attribute in fold.schema):
        raise UsageProblem("text_encoder needs an attribute of kind text to read; there is none")
    return load_text_encoder(config.text_encoder, best_device())


def _produce(out: Path, request: Request, build: Callable[[Path], None]) -> Artifact:
    """The stage, as the first process finds or builds it; the others only help to train."""
    if not current_share().is_first:
        folder = told_text("")
        if folder:
            build(Path(folder))
        return Artifact(out / request.stage, told_text(""), reused=not folder)
    artifact = produce(out, request, lambda folder: build(Path(told_text(str(folder)))))
    if artifact.reused:
        told_text("")
    told_text(artifact.digest)
    return artifact


def _encode(
    prepared: Artifact,
    fold: TrainingFold,
    out: Path,
    config: TrainConfig,
    checkpoint: Artifact,
    code: str,
) -> Artifact:
    """Stage latents/ by somebody else's autoencoder."""
    shape = config.autoencoder(Frame(fold.spatial_shape, config.multiple).spatial_dims)
    public = read_public_autoencoder(checkpoint, shape, prepared)
    parents = {"prepared": prepared.digest, "autoencoder": public.digest}
    return produce(
        out,
        Request("latents", parents, {"multiple": config.multiple}, code),
        lambda folder: encode_latents(folder, fold, config, public.network, public.scale),
    )
