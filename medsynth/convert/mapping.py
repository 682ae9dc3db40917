"""Weights of the archived `generative` package by the names of MONAI core.

The old self-attention holds a projection, proj_attn, that it never applies
(GenerativeModels#503): it has no place in a network built with include_fc=False. Core's own
`load_old_state_dict` carries it over by default, skips a ControlNet's attention, and reports no
weight that it leaves out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from monai.networks.nets.autoencoderkl import AutoencoderKL
from monai.networks.nets.controlnet import ControlNet
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from monai.networks.nets.vqvae import VQVAE
from torch import nn

from medsynth.convert.foreign import Foreign, Kind, Weights
from medsynth.convert.settings import Unseen, UnseenKL, UnseenUNet, UnseenVQ
from medsynth.convert.shapes import Arguments, arguments_of
from medsynth.core.errors import UsageProblem

CORE: Mapping[Kind, type[nn.Module]] = {
    "AutoencoderKL": AutoencoderKL,
    "VQVAE": VQVAE,
    "DiffusionModelUNet": DiffusionModelUNet,
    "ControlNet": ControlNet,
}
UNSEEN: Mapping[Kind, type[Unseen]] = {
    "AutoencoderKL": UnseenKL,
    "VQVAE": UnseenVQ,
    "DiffusionModelUNet": UnseenUNet,
    "ControlNet": UnseenUNet,
}
_NEVER_APPLIED = re.compile(r"\.proj_attn\.(weight|bias)$")
_RENAMED = (
    (re.compile(r"\.(attn[12])\.to_out\.0\."), r".\1.out_proj."),
    (re.compile(r"(?<!\.attn1)(?<!\.attn2)\.to_([qkv])\."), r".attn.to_\1."),
    (re.compile(r"(\.upsampler)\.conv\."), r"\1.postconv."),
    (re.compile(r"^(decoder\.blocks\.\d+)\.conv\.conv\."), r"\1.postconv.conv."),
)


@dataclass(frozen=True, eq=False)
class Mapped:
    """A foreign network's weights by core's names, and the arguments that core's is built with."""

    foreign: Foreign
    arguments: Arguments
    weights: Weights
    unseen: Unseen

    @property
    def num_left_out(self) -> int:
        """Weights that the old network never applied."""
        return len(self.foreign.weights) - len(self.weights)

    def fill(self, network: nn.Module) -> None:
        """Give a network of core's kind these weights."""
        network.load_state_dict(dict(self.weights), strict=True)


def map_to_core(foreign: Foreign, unseen: Unseen) -> Mapped:
    """The exact mapping of a foreign network.

    Raises UsageProblem, with the reason, where a weight would be left over, missing or misshapen.
    """
    if isinstance(unseen, UnseenKL) and unseen.use_convtranspose:
        raise UsageProblem(
            "an AutoencoderKL with use_convtranspose cannot be brought over: its transposed "
            "convolutions have kernels of 3, MONAI core's of 2"
        )
    arguments = arguments_of(foreign, unseen)
    weights = {_renamed(name): w for name, w in foreign.weights.items() if not _is_unused(name)}
    if len(weights) != sum(not _is_unused(name) for name in foreign.names):
        raise UsageProblem(f"two weights of this {foreign.kind} would get one name")
    wanted = {name: w.shape for name, w in _empty(foreign.kind, arguments).state_dict().items()}
    _require_fit(foreign.kind, weights, wanted)
    return Mapped(foreign, arguments, weights, unseen)


def _is_unused(name: str) -> bool:
    return _NEVER_APPLIED.search(name) is not None


def _renamed(name: str) -> str:
    for pattern, new in _RENAMED:
        name = pattern.sub(new, name)
    return name


def _empty(kind: Kind, arguments: Arguments) -> nn.Module:
    """The network without memory; raises UsageProblem where core refuses its arguments."""
    try:
        with torch.device("meta"):
            return CORE[kind](**arguments)
    except (ValueError, ZeroDivisionError) as error:
        raise UsageProblem(
            f"this {kind} must be possible in MONAI core: {error}; tell what its weights do not "
            f"show, such as {', '.join(UNSEEN[kind].model_fields)}"
        ) from None


def _require_fit(kind: Kind, weights: Weights, wanted: Mapping[str, torch.Size]) -> None:
    extra, missing = sorted(set(weights) - set(wanted)), sorted(set(wanted) - set(weights))
    wrong = sorted(n for n in set(weights) & set(wanted) if weights[n].shape != wanted[n])
    for names, what in ((extra, "left over"), (missing, "missing"), (wrong, "misshapen")):
        if names:
            raise UsageProblem(
                f"every weight of this {kind} must have its place in MONAI core's; {len(names)} "
                f"{'is' if len(names) == 1 else 'are'} {what}, such as {names[0]}"
            )
