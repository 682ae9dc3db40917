"""Every row of table 2.6 against the real package, and what is refused."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from medsynth.convert.foreign import Foreign, Kind
from medsynth.convert.mapping import CORE, UNSEEN, map_to_core
from medsynth.convert.proof import TOLERANCE, prove
from medsynth.core.errors import UsageProblem

KL = {"num_channels": (4, 8), "latent_channels": 3, "num_res_blocks": (1, 2)}
UNET = {"num_channels": (4, 8, 8), "num_res_blocks": (2, 1, 1), "in_channels": 3}
ALONE = {"num_head_channels": 4}
CONTEXT = {"with_conditioning": True, "cross_attention_dim": 5, "num_head_channels": 4}
ATTENDS, NOT = {"attention_levels": (False, True, True)}, {"attention_levels": (False,) * 3}
HINT = {"conditioning_embedding_in_channels": 2, "conditioning_embedding_num_channels": (2, 4)}
UNSEEN_UNET = {"norm_num_groups": 2, "norm_eps": 1e-4, "num_head_channels": 4}

CASES: Mapping[str, tuple[Kind, Mapping[str, Any], Mapping[str, Any]]] = {
    "KL without attention": (
        "AutoencoderKL",
        KL | {"attention_levels": (False, False), "with_encoder_nonlocal_attn": False}
        | {"with_decoder_nonlocal_attn": False},
        {"norm_num_groups": 2},
    ),
    "KL with attention": (
        "AutoencoderKL",
        KL | {"attention_levels": (False, True), "norm_eps": 1e-3},
        {"norm_num_groups": 2, "norm_eps": 1e-3},
    ),
    "KL with attention in the middle alone": (
        "AutoencoderKL",
        KL | {"attention_levels": (False, False), "in_channels": 2, "out_channels": 3},
        {"norm_num_groups": 2},
    ),
    "KL with attention in its levels alone": (
        "AutoencoderKL",
        KL | {"attention_levels": (True, True), "with_encoder_nonlocal_attn": False}
        | {"with_decoder_nonlocal_attn": False},
        {"norm_num_groups": 2},
    ),
    "KL whose decoder alone attends": (
        "AutoencoderKL",
        KL | {"attention_levels": (False, False), "with_encoder_nonlocal_attn": False},
        {"norm_num_groups": 2},
    ),
    "VQ": (
        "VQVAE",
        {
            "in_channels": 1, "out_channels": 2, "num_channels": (4, 6), "num_res_layers": 2,
            "num_res_channels": (3, 5), "num_embeddings": 7, "embedding_dim": 3,
            "downsample_parameters": ((2, 4, 1, 1),) * 2,
            "upsample_parameters": ((2, 4, 1, 1, 0),) * 2,
        },
        {},
    ),
    "VQ of other strides": (
        "VQVAE",
        {
            "in_channels": 1, "out_channels": 1, "num_channels": (4, 6), "num_res_layers": 1,
            "num_res_channels": 3, "num_embeddings": 7, "embedding_dim": 3, "act": "PRELU",
            "downsample_parameters": ((1, 3, 1, 1), (2, 4, 1, 1)), "output_act": "TANH",
            "upsample_parameters": ((2, 4, 1, 1, 0), (1, 3, 1, 1, 0)),
        },
        {
            "downsample_parameters": ((1, 3, 1, 1), (2, 4, 1, 1)),
            "upsample_parameters": ((2, 4, 1, 1, 0), (1, 3, 1, 1, 0)),
            "act": "PRELU", "output_act": "TANH",
        },
    ),
    "U-Net without attention levels": (
        "DiffusionModelUNet", UNET | NOT | ALONE | {"out_channels": 2}, UNSEEN_UNET,
    ),
    "U-Net with attention": (
        "DiffusionModelUNet", UNET | ATTENDS | ALONE | {"out_channels": 3}, UNSEEN_UNET,
    ),
    "U-Net with context": (
        "DiffusionModelUNet",
        UNET | ATTENDS | CONTEXT | {"out_channels": 3, "transformer_num_layers": 2},
        UNSEEN_UNET,
    ),
    "U-Net with classes and residual steps between levels": (
        "DiffusionModelUNet",
        UNET | ATTENDS | ALONE
        | {"out_channels": 3, "num_class_embeds": 6, "resblock_updown": True},
        UNSEEN_UNET,
    ),
    "ControlNet without attention levels": ("ControlNet", UNET | NOT | ALONE | HINT, UNSEEN_UNET),
    "ControlNet with attention": ("ControlNet", UNET | ATTENDS | ALONE | HINT, UNSEEN_UNET),
    "ControlNet with context": ("ControlNet", UNET | ATTENDS | CONTEXT | HINT, UNSEEN_UNET),
}  # fmt: skip


def case(make_old, name: str, dims: int):
    kind, arguments, unseen = CASES[name]
    shared = {k: v for k, v in unseen.items() if k in ("norm_num_groups", "norm_eps")}
    network = make_old(kind, spatial_dims=dims, **{**shared, **arguments})
    return Foreign(kind, network.state_dict()), UNSEEN[kind](**unseen)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", CASES)
def test_a_mapped_network_says_what_the_old_one_said(make_old, name: str, dims: int) -> None:
    foreign, unseen = case(make_old, name, dims)
    mapped = map_to_core(foreign, unseen)
    network = CORE[foreign.kind](**mapped.arguments)
    mapped.fill(network)
    proof = prove(mapped, network)
    assert proof.difference is not None
    assert proof.difference <= proof.tolerance
    assert "proved by comparison" in proof.text


def test_the_projection_that_was_never_applied_is_all_that_is_left_out(make_old) -> None:
    mapped = map_to_core(*case(make_old, "ControlNet with attention", 2))
    left_out = mapped.foreign.names - {name.replace(".attn.", ".") for name in mapped.weights}
    assert left_out
    assert all(".proj_attn." in name for name in left_out)
    assert mapped.num_left_out == len(left_out)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("KL with attention", {"include_fc": True}),
        ("U-Net with attention", {"include_fc": True}),
        ("U-Net with context", {"include_fc": False}),
        ("ControlNet with attention", {"include_fc": True}),
        ("U-Net with attention", {"num_head_channels": (2, 2, 2)}),
        ("KL with attention", {"norm_num_groups": 4}),
        ("VQ", {"act": "TANH"}),
    ],
)
def test_a_wrong_network_is_not_proved(make_old, name: str, wrong: Mapping[str, Any]) -> None:
    foreign, unseen = case(make_old, name, 2)
    mapped = map_to_core(foreign, unseen)
    network = CORE[foreign.kind](**{**mapped.arguments, **wrong})
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(std=0.3)
    network.load_state_dict(dict(mapped.weights), strict=False)
    with pytest.raises(UsageProblem, match="must give what the `generative` package gives"):
        prove(mapped, network)


def test_two_weights_that_change_places_are_found_by_the_proof(make_old) -> None:
    mapped = map_to_core(*case(make_old, "U-Net with attention", 2))
    network = CORE["DiffusionModelUNet"](**mapped.arguments)
    root = "middle_block.attention.attn.to_"
    swapped = {f"{root}q.weight": f"{root}k.weight", f"{root}k.weight": f"{root}q.weight"}
    network.load_state_dict({swapped.get(n, n): w for n, w in mapped.weights.items()})
    with pytest.raises(UsageProblem, match=f"more than {TOLERANCE:g}"):
        prove(mapped, network)


def test_without_the_package_nothing_is_claimed(make_old, monkeypatch) -> None:
    mapped = map_to_core(*case(make_old, "KL without attention", 2))
    monkeypatch.setattr("medsynth.convert.proof.package", lambda: "absent")
    proof = prove(mapped, CORE["AutoencoderKL"](**mapped.arguments))
    assert (proof.difference, proof.text) == (None, "not compared: package absent")


def changed(foreign: Foreign, **weights: torch.Tensor | None) -> Foreign:
    """A network with weights added, or taken away."""
    names = {name.replace("__", "."): weight for name, weight in weights.items()}
    kept = {**foreign.weights, **names}
    return Foreign(foreign.kind, {n: w for n, w in kept.items() if w is not None})


def test_a_weight_without_a_place_is_refused_by_name(make_old) -> None:
    foreign, unseen = case(make_old, "U-Net with attention", 2)
    more = changed(foreign, middle_block__novelty__weight=torch.ones(3))
    with pytest.raises(UsageProblem, match=r"1 is left over, such as middle_block.novelty.w"):
        map_to_core(more, unseen)


def test_a_weight_that_is_missing_is_refused_by_name(make_old) -> None:
    foreign, unseen = case(make_old, "KL with attention", 2)
    less = changed(foreign, decoder__blocks__1__norm2__bias=None)
    with pytest.raises(UsageProblem, match=r"1 is missing, such as decoder.blocks.1.norm2.bias"):
        map_to_core(less, unseen)


def test_a_weight_of_another_shape_is_refused_by_name(make_old) -> None:
    foreign, unseen = case(make_old, "ControlNet with context", 2)
    other = changed(foreign, time_embed__0__weight=torch.ones(16, 5))
    with pytest.raises(UsageProblem, match=r"1 is misshapen, such as time_embed.0.weight"):
        map_to_core(other, unseen)


def test_a_network_without_its_first_weight_is_refused(make_old) -> None:
    foreign, unseen = case(make_old, "U-Net with attention", 2)
    with pytest.raises(UsageProblem, match="lacks weights that every one of its kind has"):
        map_to_core(changed(foreign, conv_in__conv__weight=None), unseen)


def test_groups_that_do_not_divide_the_channels_are_asked_for(make_old) -> None:
    foreign, _ = case(make_old, "U-Net with attention", 2)
    with pytest.raises(UsageProblem, match="norm_num_groups, norm_eps, num_head_channels"):
        map_to_core(foreign, UNSEEN["DiffusionModelUNet"]())


def test_transposed_convolutions_are_refused_with_the_reason(make_old) -> None:
    foreign, _ = case(make_old, "KL with attention", 2)
    unseen = UNSEEN["AutoencoderKL"](norm_num_groups=2, use_convtranspose=True)
    with pytest.raises(UsageProblem, match="have kernels of 3, MONAI core's of 2"):
        map_to_core(foreign, unseen)
