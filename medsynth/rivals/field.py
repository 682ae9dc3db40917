"""Who takes part: our model, the rivals, and the Gaussian that all of them must clear."""

from collections.abc import Callable, Mapping
from pathlib import Path

from medsynth.core.stage import Artifact, open_stage
from medsynth.rivals.autoregressive_training import train_autoregressive
from medsynth.rivals.config import RivalsConfig
from medsynth.rivals.contestant import Entry, Ground
from medsynth.rivals.diffusion import train_diffusion
from medsynth.rivals.gan import gan_multiple
from medsynth.rivals.gan_training import train_gan
from medsynth.rivals.gaussian import fit_gaussian
from medsynth.sample.plan import Plan
from medsynth.train.config import TrainConfig
from medsynth.train.fold import TrainingFold
from medsynth.train.report import OnStep

NAMES = ("diffusion", "gan", "autoregressive", "gaussian")
TRAINED = NAMES[:3]
"""Those who learn for the whole time; the Gaussian takes the latents of the first."""


def field(
    prepared: Artifact,
    fold: TrainingFold,
    config: RivalsConfig,
    settings: TrainConfig,
    plan: Plan,
    *,
    seed: int,
    at: Path,
    on_step: OnStep,
) -> Mapping[str, Callable[[], Entry]]:
    """How each contestant comes to be, in the order of NAMES; their work lies in the folder."""

    def ground(multiple: int) -> Ground:
        return Ground.of(fold, multiple)

    def diffusion() -> Entry:
        return train_diffusion(prepared, fold, config, settings, seed, on_step, at, plan)

    def gan() -> Entry:
        return train_gan(ground(gan_multiple(config.gan.widths)), config, settings, seed, on_step)

    def autoregressive() -> Entry:
        multiple = settings.autoencoder(2).factor
        return train_autoregressive(ground(multiple), config, settings, seed, on_step)

    def gaussian() -> Entry:
        seconds = 60 * config.minutes * config.first_share
        return fit_gaussian(ground(settings.multiple), open_stage(at / "latents"), seconds)

    return dict(zip(NAMES, (diffusion, gan, autoregressive, gaussian), strict=True))
