"""The arguments that built a network, from the names and shapes of its weights.

Named as MONAI core names them. Whatever is guessed wrongly here leaves a network that the weights
do not fit, which is refused.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import count, groupby, takewhile
from typing import Any

from medsynth.convert.foreign import Foreign
from medsynth.convert.settings import Unseen, UnseenKL, UnseenUNet, UnseenVQ
from medsynth.core.errors import UsageProblem

Arguments = Mapping[str, Any]


def arguments_of(network: Foreign, unseen: Unseen) -> Arguments:
    """Every argument of MONAI core's network; raises UsageProblem where a weight is missing."""
    try:
        if isinstance(unseen, UnseenKL):
            return _autoencoder(network, unseen)
        if isinstance(unseen, UnseenVQ):
            return _vqvae(network, unseen)
        assert isinstance(unseen, UnseenUNet)
        return _unet(network, unseen)
    except (KeyError, IndexError, ValueError):
        raise UsageProblem(
            f"this {network.kind} lacks weights that every one of its kind has"
        ) from None


def _shape(network: Foreign, name: str) -> tuple[int, ...]:
    return tuple(network.weights[name].shape)


def _autoencoder(network: Foreign, unseen: UnseenKL) -> Arguments:
    levels = _split(_blocks(network, "encoder"), "D")
    last, with_encoder = _without_middle([block for _, block in levels[-1]])
    widths = [[n for n, block in level if block == "R"][-1] for level in levels[:-1]]
    channels = [_shape(network, f"encoder.blocks.{n}.conv2.conv.weight")[0] for n in widths]
    code = _shape(network, "quant_conv_mu.conv.weight")
    first = _shape(network, "encoder.blocks.0.conv.weight")
    bottom = _shape(network, "decoder.blocks.0.conv.weight")[0]
    letters = [*([block for _, block in level] for level in levels[:-1]), last]
    decoder = _blocks(network, "decoder")
    top = [block for _, block in _split(decoder, "D")[0]]
    return {
        "spatial_dims": len(first) - 2,
        "in_channels": first[1],
        "out_channels": _shape(network, f"decoder.blocks.{decoder[-1][0]}.conv.weight")[0],
        "num_res_blocks": tuple(level.count("R") for level in letters),
        "channels": (*channels, bottom),
        "attention_levels": tuple("A" in level for level in letters),
        "latent_channels": code[0],
        "norm_num_groups": unseen.norm_num_groups,
        "norm_eps": unseen.norm_eps,
        "with_encoder_nonlocal_attn": with_encoder,
        "with_decoder_nonlocal_attn": top.count("R") == last.count("R") + 2,
        "include_fc": False,
    }


def _blocks(network: Foreign, half: str) -> list[tuple[int, str]]:
    """Number and letter of each block: (R)esidual, (A)ttention, (D)own or up, else nothing."""
    marks = {"norm1.weight": "R", "to_q.weight": "A", "conv.conv.weight": "D"}
    pattern = re.compile(rf"{half}\.blocks\.(\d+)\.(.+)")
    matches = [match for name in network.names if (match := pattern.fullmatch(name))]
    found: dict[int, str] = {int(match[1]): "" for match in matches}
    for match in matches:
        found[int(match[1])] = marks.get(match[2], found[int(match[1])])
    return sorted(found.items())


def _split(blocks: Sequence[tuple[int, str]], mark: str) -> list[list[tuple[int, str]]]:
    """The lettered blocks between those of a mark."""
    runs = groupby((block for block in blocks if block[1]), key=lambda block: block[1] == mark)
    return [list(run) for is_mark, run in runs if not is_mark]


def _without_middle(level: list[str]) -> tuple[list[str], bool]:
    """The last level's own blocks, and whether residual, attention, residual follow them."""
    # A level that attends ends in attention, one that does not has none.
    has_middle = level[-3:] == ["R", "A", "R"]
    return (level[:-3], True) if has_middle else (level, False)


def _vqvae(network: Foreign, unseen: UnseenVQ) -> Arguments:
    encoder, decoder = _convolutions(network, "encoder"), _convolutions(network, "decoder")
    levels, ups = encoder[:-1], decoder[1:]
    units = [n for name in network.names if (n := _number(name, r"encoder\.blocks\.(\d+)\.conv1"))]
    firsts = [levels[k] + 1 for k in range(len(levels))]
    codes, dim = _shape(network, "quantizer.quantizer.embedding.weight")

    def kernel(half: str, block: int) -> int:
        return _shape(network, f"{half}.blocks.{block}.conv.weight")[2]

    return {
        "spatial_dims": len(_shape(network, "encoder.blocks.0.conv.weight")) - 2,
        "in_channels": _shape(network, "encoder.blocks.0.conv.weight")[1],
        "out_channels": _shape(network, f"decoder.blocks.{ups[-1]}.conv.weight")[1],
        "channels": tuple(_shape(network, f"encoder.blocks.{n}.conv.weight")[0] for n in levels),
        "num_res_layers": len(set(units)) // len(levels),
        "num_res_channels": tuple(
            _shape(network, f"encoder.blocks.{n}.conv1.conv.weight")[0] for n in firsts
        ),
        "downsample_parameters": unseen.downsample_parameters
        or tuple((2, kernel("encoder", n), 1, 1) for n in levels),
        "upsample_parameters": unseen.upsample_parameters
        or tuple((2, kernel("decoder", n), 1, 1, 0) for n in ups),
        "num_embeddings": codes,
        "embedding_dim": dim,
        "act": unseen.act,
        "output_act": unseen.output_act,
        "ddp_sync": False,
    }


def _convolutions(network: Foreign, half: str) -> list[int]:
    """Numbers of the blocks that are one convolution."""
    found = (_number(name, rf"{half}\.blocks\.(\d+)\.conv\.weight") for name in network.names)
    return sorted(number for number in found if number is not None)


def _number(name: str, pattern: str) -> int | None:
    match = re.match(pattern, name)
    return int(match[1]) if match else None


def _unet(network: Foreign, unseen: UnseenUNet) -> Arguments:
    levels = _count(network, "down_blocks.{}.resnets.0.norm1.weight")
    blocks = [_count(network, f"down_blocks.{k}.resnets.{{}}.norm1.weight") for k in range(levels)]
    last = [f"down_blocks.{k}.resnets.{n - 1}.conv2.conv.weight" for k, n in enumerate(blocks)]
    first = _shape(network, "conv_in.conv.weight")
    middle = "middle_block.attention.transformer_blocks"
    depth = _count(network, f"{middle}.{{}}.norm1.weight")
    classes = "class_embedding.weight"
    heads = unseen.num_head_channels
    ends = _output(network) if network.kind == "DiffusionModelUNet" else _hint(network)
    return {
        **ends,
        "spatial_dims": len(first) - 2,
        "in_channels": first[1],
        "num_res_blocks": tuple(blocks),
        "channels": tuple(_shape(network, name)[0] for name in last),
        "attention_levels": tuple(
            any(name.startswith(f"down_blocks.{k}.attentions.") for name in network.names)
            for k in range(levels)
        ),
        "norm_num_groups": unseen.norm_num_groups,
        "norm_eps": unseen.norm_eps,
        "resblock_updown": "down_blocks.0.downsampler.norm1.weight" in network.names,
        "num_head_channels": (heads,) * levels if isinstance(heads, int) else heads,
        "with_conditioning": depth > 0,
        "transformer_num_layers": max(1, depth),
        "cross_attention_dim": (
            _shape(network, f"{middle}.0.attn2.to_k.weight")[1] if depth else None
        ),
        "num_class_embeds": _shape(network, classes)[0] if classes in network.names else None,
        # The old self-attention of an unconditioned network never applied its projection.
        "include_fc": depth > 0,
    }


def _count(network: Foreign, name: str) -> int:
    """How many of the names with 0, 1, 2, ... in them there are."""
    return len([*takewhile(network.names.__contains__, map(name.format, count()))])


def _output(network: Foreign) -> Arguments:
    return {"out_channels": _shape(network, "out.2.conv.weight")[0]}


def _hint(network: Foreign) -> Arguments:
    """Of a ControlNet: channels of the picture that controls, and of its embedding."""
    root = "controlnet_cond_embedding"
    first = _shape(network, f"{root}.conv_in.conv.weight")
    blocks = _count(network, f"{root}.blocks.{{}}.conv.weight")
    widths = [_shape(network, f"{root}.blocks.{k}.conv.weight")[0] for k in range(1, blocks, 2)]
    return {
        "conditioning_embedding_in_channels": first[1],
        "conditioning_embedding_num_channels": (first[0], *widths),
    }
