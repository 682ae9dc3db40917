"""Files of weights that somebody else wrote, as the networks they hold.

Nothing is unpickled but tensors and plain containers. A network is known by a weight that only
its kind has; what stands before that weight's name is the network's prefix in the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from medsynth.core.errors import UsageProblem

Kind = Literal["AutoencoderKL", "VQVAE", "DiffusionModelUNet", "ControlNet"]
Weights = Mapping[str, Tensor]

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
_ANCHORS: Mapping[str, Kind] = {
    "quant_conv_mu.conv.weight": "AutoencoderKL",
    "quantizer.quantizer.embedding.weight": "VQVAE",
    "controlnet_mid_block.conv.weight": "ControlNet",
    "out.2.conv.weight": "DiffusionModelUNet",
}
_UNWANTED = {
    "mlp_shared.": "it normalizes by a label map (SPADE), which our generator has no network for",
    ".attn.to_q.weight": "its attention has MONAI core's names, not those of `generative`",
}
_NOT_NETWORKS = {
    "token_embeddings.": "a transformer over tokens, which our generator has no use for",
    "initial_conv.": "a discriminator, which generates nothing",
}


@dataclass(frozen=True, eq=False)
class Foreign:
    """One network as it was found: its kind, and its weights by their own names."""

    kind: Kind
    weights: Weights

    @property
    def names(self) -> frozenset[str]:
        """Names of all weights."""
        return frozenset(self.weights)


def read_networks(
    files: Sequence[Path], *, entry: str = "", ignored: Sequence[str] = ()
) -> Mapping[Kind, Foreign]:
    """The networks of files of weights; at most one of each kind.

    `entry` names the dictionary to take where a file holds several, such as "ema"; weights whose
    names begin with one of `ignored` are left out. Raises UsageProblem for every other one that
    belongs to no network.
    """
    found: dict[Kind, Foreign] = {}
    for path in files:
        for network in _networks(read_weights(path, entry=entry), ignored):
            if network.kind in found:
                raise UsageProblem(
                    f"one {network.kind} must be given, found two; name the dictionary to take "
                    "(convert.entry), or give the file alone"
                )
            found[network.kind] = network
    return found


def weight_files(source: Path) -> list[Path]:
    """A file itself, or the files of weights in a folder; raises UsageProblem for none."""
    if source.is_file():
        return [source]
    files = sorted(path for path in source.iterdir() if path.suffix in SUFFIXES)
    if not files:
        raise UsageProblem(f"a folder must hold files of weights ({', '.join(SUFFIXES)})")
    return files


def read_weights(path: Path, *, entry: str = "") -> Weights:
    """The one state dict of a file; raises UsageProblem where there is none, or several."""
    loaded = _load(path)
    held = dict(_state_dicts(loaded))
    chosen = {name: found for name, found in held.items() if _is_in(entry, name)}
    if len(chosen) == 1:
        return next(iter(chosen.values()))
    names = ", ".join(name or "(the file itself)" for name in held) or _what_else(loaded)
    raise UsageProblem(
        f"a file must hold one dictionary of weights{f' named {entry}' if entry else ''}, found "
        f"{names}; name one by convert.entry"
    )


def _load(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    # A foreign file may fail in any way, and its text may name what lies in it.
    except Exception as error:
        if "weights_only" in str(error) or "Weights only" in str(error):
            raise UsageProblem(
                "a checkpoint must hold tensors alone; this one needs code to be run. Save its "
                "state_dict() where it was trained, and give that"
            ) from None
        raise UsageProblem("a checkpoint must be a file of torch.save or safetensors") from None


def _state_dicts(held: Any, name: str = "") -> Iterator[tuple[str, Weights]]:
    """Every dictionary of named weights in which a network is known, by where it lies."""
    if not isinstance(held, Mapping):
        return
    tensors = {key: value for key, value in held.items() if isinstance(value, Tensor)}
    if any(key.endswith(tuple(_ANCHORS)) for key in tensors if isinstance(key, str)):
        yield name, tensors
        return
    for key, inner in held.items():
        yield from _state_dicts(inner, f"{name}.{key}".lstrip("."))


def _what_else(loaded: Any) -> str:
    """What a file without a network of ours holds."""
    names = list(map(str, loaded)) if isinstance(loaded, Mapping) else []
    known = (what for mark, what in _NOT_NETWORKS.items() if any(mark in name for name in names))
    return next(known, "none")


def _is_in(entry: str, name: str) -> bool:
    return not entry or name == entry or name.startswith(f"{entry}.")


def _networks(weights: Weights, ignored: Sequence[str]) -> Iterator[Foreign]:
    """The networks of one state dict; every weight belongs to one."""
    left = {name: w for name, w in weights.items() if not name.startswith(tuple(ignored))}
    for name in list(left):
        anchor = next((a for a in _ANCHORS if name == a or name.endswith(f".{a}")), None)
        if anchor is None or name not in left:
            continue
        prefix = name.removesuffix(anchor)
        own = [key for key in left if key.startswith(prefix)]
        network = {key.removeprefix(prefix): left.pop(key) for key in own}
        yield Foreign(_ANCHORS[anchor], _checked(_ANCHORS[anchor], network))
    if left:
        raise UsageProblem(
            f"every weight must belong to a network, but {len(left)} do not, such as "
            f"{min(left)}; leave them out by convert.ignored if they are none of the generator's"
        )


def _checked(kind: Kind, weights: Mapping[str, Tensor]) -> Weights:
    """The weights in fp32; raises UsageProblem for what no mapping can bring over."""
    for mark, reason in _UNWANTED.items():
        if any(mark in name for name in weights):
            raise UsageProblem(f"this {kind} cannot be brought over: {reason}")
    if not all(w.is_floating_point() and bool(w.isfinite().all()) for w in weights.values()):
        raise UsageProblem(f"the weights of this {kind} must be finite numbers; some are not")
    return {name: w.float().contiguous() for name, w in weights.items()}
