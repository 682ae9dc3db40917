"""A denoiser with a part of its channels, sliced out of a dense one.

Each level keeps whole groups of its group norms, two neighbors together: where levels are equally
wide, a norm over hidden channels and a skip sees such pairs as one group. So a channel that nobody
writes and nobody reads can be left out without any change. The waves of time stay as they were.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from medsynth.models.denoiser import Denoiser, DenoiserConfig

Space = tuple[str, ...]
"""Names of the channels along one side of a weight, one after the other; none: never cut."""
Spaces = Mapping[str, tuple[Space, ...]]
"""The spaces of each tensor's leading sides, by its name."""
Kept = Mapping[str, Tensor]
"""Rows that each named space keeps."""

_TIME: Space = ("time",)
_RESNET = {
    "norm1": "i",
    "conv1.conv": "oi",
    "time_emb_proj": "ot",
    "norm2": "o",
    "conv2.conv": "oo",
    "skip_connection.conv": "oi",
}
_ATTENTION = {
    "norm": "o",
    "proj_in.conv": "xo",
    "attn1.to_q": "ax",
    "attn1.to_k": "ax",
    "attn1.to_v": "ax",
    "attn1.out_proj": "xa",
    "attn2.to_q": "bx",
    "attn2.to_k": "b",
    "attn2.to_v": "b",
    "attn2.out_proj": "xb",
    "ff.linear1": "fx",
    "ff.linear2": "xh",
    "norm1": "x",
    "norm2": "x",
    "norm3": "x",
    "proj_out.conv": "ox",
}
"""Sides of each layer: i in, o out, t time, x within attention, a and b its heads, h its hidden
units, f these twice (a value and a gate)."""


def slim_config(config: DenoiserConfig, keep: float) -> DenoiserConfig:
    """The config with about this share of the groups, at least two."""
    if config.norm_groups % 2:
        raise ValueError(f"groups are kept in pairs; norm_groups must be even, got {config}")
    groups = 2 * max(1, round(keep * config.norm_groups / 2))
    return replace(
        config,
        channels=tuple(width * groups // config.norm_groups for width in config.channels),
        norm_groups=groups,
        time_features=config.time_features or config.channels[0],
    )


def sliced(dense: Denoiser, slim: Denoiser, kept: Kept) -> Denoiser:
    """`slim` with the kept part of every weight of the dense network."""
    sizes, weights = sizes_of(dense), dict(dense.state_dict())
    for name, sides in spaces_of(dense).items():
        for side, space in enumerate(sides):
            if space:
                rows = _joined(space, kept, sizes).to(weights[name].device)
                weights[name] = weights[name].index_select(side, rows)
    slim.load_state_dict(weights)
    return slim


def _joined(space: Space, kept: Kept, sizes: Mapping[str, int]) -> Tensor:
    """Kept rows of channels that lie one space after the other."""
    parts, start = [], 0
    for name in space:
        parts.append(kept[name] + start)
        start += sizes[name]
    return torch.cat(parts)


def sizes_of(denoiser: Denoiser) -> dict[str, int]:
    """How many channels each named space has."""
    weights = denoiser.state_dict()
    return {
        space[0]: weights[name].shape[side]
        for name, sides in spaces_of(denoiser).items()
        for side, space in enumerate(sides)
        if len(space) == 1
    }


def spaces_of(denoiser: Denoiser) -> Spaces:
    """The spaces of every tensor."""
    return {
        name: _sides(name.removeprefix("network.").split("."), denoiser.config)
        for name in denoiser.state_dict()
    }


def _sides(path: list[str], config: DenoiserConfig) -> tuple[Space, ...]:
    layer, kind = ".".join(path[:-1]), path[-1]
    sides = _layer_sides(layer, config)
    return sides[:1] if kind == "bias" else sides


def _layer_sides(layer: str, config: DenoiserConfig) -> tuple[Space, ...]:
    outer: dict[str, tuple[Space, ...]] = {
        "conv_in.conv": (_level(0),),
        "time_embed.0": (_TIME,),
        "time_embed.2": (_TIME, _TIME),
        "class_embedding": (_TIME,),
        "out.0": (_level(0),),
        "out.2.conv": ((), _level(0)),
    }
    return outer[layer] if layer in outer else _block_sides(layer, config)


def _block_sides(layer: str, config: DenoiserConfig) -> tuple[Space, ...]:
    block, *rest = layer.split(".")
    if block == "middle_block":
        number, (part, *inner) = len(config.channels) - 1, rest
        before: Space = _level(number)
        place = part
    else:
        index, (part, *inner) = int(rest[0]), rest[1:]
        number = index if block == "down_blocks" else len(config.channels) - 1 - index
        if part in ("downsampler", "upsampler"):
            return _level(number), _level(number)
        nth = int(inner.pop(0))
        before = _before(block, number, nth, config)
        place = f"{block}.{index}.{nth}"
    if part.startswith("resnet"):
        letters = _RESNET[".".join(inner)]
        names = {"i": before, "o": _level(number), "t": _TIME}
    else:
        letters = _ATTENTION[".".join(inner).removeprefix("transformer_blocks.0.")]
        names = {"o": _level(number)} | {x: (f"{place}:{x}",) for x in "xabh"}
        names["f"] = (f"{place}:h", f"{place}:h")
    return tuple(names[letter] for letter in letters)


def _level(number: int) -> Space:
    return (f"level {number}",)


def _before(block: str, number: int, nth: int, config: DenoiserConfig) -> Space:
    """What the nth residual block of a level reads: going up, hidden channels and a skip."""
    deepest = len(config.channels) - 1
    if block == "down_blocks":
        return _level(max(number - 1, 0) if nth == 0 else number)
    hidden = _level(min(number + 1, deepest) if nth == 0 else number)
    is_last = nth == config.num_res_blocks
    return hidden + _level(max(number - 1, 0) if is_last else number)
