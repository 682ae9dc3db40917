"""Reading files that somebody else wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medsynth.convert.foreign import Foreign, Kind, read_networks, weight_files
from medsynth.core.errors import UsageProblem

KL = {"num_channels": (4, 8), "latent_channels": 3, "num_res_blocks": 1, "norm_num_groups": 2}
UNET = {"num_channels": (4, 8), "num_res_blocks": 1, "in_channels": 3, "norm_num_groups": 2}
UNET |= {"attention_levels": (False, True), "num_head_channels": 4}


@pytest.fixture
def autoencoder(make_old) -> dict[str, Tensor]:
    network = make_old("AutoencoderKL", spatial_dims=2, attention_levels=(False, True), **KL)
    return dict(network.state_dict())


@pytest.fixture
def denoiser(make_old) -> dict[str, Tensor]:
    network = make_old("DiffusionModelUNet", spatial_dims=2, out_channels=3, **UNET)
    return dict(network.state_dict())


def networks(source: Path, **options: Any) -> Mapping[Kind, Foreign]:
    return read_networks(weight_files(source), **options)


def save(folder: Path, held: Any, name: str = "model.pt") -> Path:
    torch.save(held, folder / name)
    return folder / name


def under(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": weight for name, weight in weights.items()}


def same(network: Foreign, weights: dict[str, Tensor]) -> bool:
    return network.names == set(weights) and all(
        torch.equal(network.weights[name], weight) for name, weight in weights.items()
    )


@pytest.mark.parametrize(
    "nest",
    [
        lambda weights: weights,
        lambda weights: {"epoch": 3, "state_dict": weights, "optimizer": {"state": {0: {}}}},
        lambda weights: {"model": under("module.", weights)},
        lambda weights: {"checkpoint": {"autoencoder": under("_orig_mod.", weights)}},
    ],
)
def test_a_network_is_found_wherever_it_lies_in_its_file(tmp_path, autoencoder, nest) -> None:
    found = networks(save(tmp_path, nest(autoencoder)))
    assert set(found) == {"AutoencoderKL"}
    assert same(found["AutoencoderKL"], autoencoder)


def test_safetensors_are_read(tmp_path, autoencoder) -> None:
    save_file(autoencoder, tmp_path / "model.safetensors")
    found = networks(tmp_path / "model.safetensors")
    assert same(found["AutoencoderKL"], autoencoder)


def test_both_networks_of_one_state_dict_come_apart(tmp_path, autoencoder, denoiser) -> None:
    both = under("first_stage.", autoencoder) | under("unet.", denoiser)
    found = networks(save(tmp_path, {"state_dict": both}))
    assert same(found["AutoencoderKL"], autoencoder)
    assert same(found["DiffusionModelUNet"], denoiser)


def test_a_folder_holds_a_network_in_each_file(tmp_path, autoencoder, denoiser) -> None:
    save(tmp_path, autoencoder, "autoencoder.pt")
    save(tmp_path, {"ema": denoiser}, "diffusion.pth")
    (tmp_path / "readme.txt").write_text("not weights")
    assert set(networks(tmp_path)) == {"AutoencoderKL", "DiffusionModelUNet"}


def test_half_precision_becomes_single(tmp_path, autoencoder) -> None:
    halves = {name: weight.half() for name, weight in autoencoder.items()}
    found = networks(save(tmp_path, halves))["AutoencoderKL"]
    assert same(found, {name: weight.float() for name, weight in halves.items()})


def test_of_two_sets_of_weights_one_must_be_named(tmp_path, denoiser) -> None:
    zeros = {name: torch.zeros_like(weight) for name, weight in denoiser.items()}
    path = save(tmp_path, {"model": zeros, "ema": denoiser})
    with pytest.raises(UsageProblem, match=r"found model, ema; name one by convert.entry"):
        networks(path)
    assert same(networks(path, entry="ema")["DiffusionModelUNet"], denoiser)
    with pytest.raises(UsageProblem, match="one dictionary of weights named other, found model"):
        networks(path, entry="other")


def test_two_networks_of_a_kind_are_refused(tmp_path, autoencoder) -> None:
    save(tmp_path, autoencoder, "a.pt")
    save(tmp_path, autoencoder, "b.pt")
    with pytest.raises(UsageProblem, match="one AutoencoderKL must be given, found two"):
        networks(tmp_path)


def test_weights_of_no_network_are_refused_or_left_out_by_name(tmp_path, autoencoder) -> None:
    loss = {"perceptual.net.0.weight": torch.ones(2)}
    path = save(tmp_path, under("net.", autoencoder) | loss)
    with pytest.raises(UsageProblem, match=r"1 do not, such as perceptual.net.0.weight"):
        networks(path)
    found = networks(path, ignored=["perceptual."])
    assert same(found["AutoencoderKL"], autoencoder)


class Ours(nn.Module):
    """A whole module, which only code could bring back."""


def test_what_needs_code_to_be_read_is_refused_unrun(tmp_path) -> None:
    with pytest.raises(UsageProblem, match="this one needs code to be run"):
        networks(save(tmp_path, Ours()))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a checkpoint", b"\x80\x02."])
def test_what_is_no_checkpoint_is_refused(tmp_path, content) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(UsageProblem, match="must"):
        networks(tmp_path / "model.pt")


def test_a_damaged_safetensors_file_is_refused(tmp_path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(UsageProblem, match="must be a file of"):
        networks(tmp_path / "model.safetensors")


def test_a_file_without_a_network_is_refused(tmp_path) -> None:
    with pytest.raises(UsageProblem, match="must hold one dictionary of weights, found none"):
        networks(save(tmp_path, {"layer.weight": torch.ones(2)}))


def test_an_empty_folder_is_refused(tmp_path) -> None:
    with pytest.raises(UsageProblem, match="a folder must hold files of weights"):
        networks(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path, autoencoder) -> None:
    autoencoder["encoder.blocks.0.conv.bias"][0] = torch.nan
    with pytest.raises(UsageProblem, match="must be finite numbers"):
        networks(save(tmp_path, autoencoder))


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("SPADEDiffusionModelUNet", {**UNET, "out_channels": 3, "label_nc": 2}),
        ("SPADEAutoencoderKL", {**KL, "attention_levels": (False, True), "label_nc": 2}),
    ],
)
def test_networks_that_normalize_by_a_label_map_are_refused(
    tmp_path, make_old, kind, arguments
) -> None:
    path = save(tmp_path, make_old(kind, spatial_dims=2, **arguments).state_dict())
    with pytest.raises(UsageProblem, match=r"normalizes by a label map \(SPADE\)"):
        networks(path)


def test_a_discriminator_and_a_transformer_are_refused_with_the_reason(tmp_path, make_old) -> None:
    discriminator = make_old(
        "PatchDiscriminator", spatial_dims=2, num_channels=4, in_channels=1, num_layers_d=2
    )
    with pytest.raises(UsageProblem, match="a discriminator, which generates nothing"):
        networks(save(tmp_path, discriminator.state_dict()))
    transformer = make_old(
        "DecoderOnlyTransformer",
        num_tokens=4,
        max_seq_len=4,
        attn_layers_dim=4,
        attn_layers_depth=1,
        attn_layers_heads=1,
    )
    with pytest.raises(UsageProblem, match="a transformer over tokens"):
        networks(save(tmp_path, transformer.state_dict()))


def test_core_s_own_checkpoints_are_told_apart(tmp_path) -> None:
    from monai.networks.nets.autoencoderkl import AutoencoderKL

    network = AutoencoderKL(
        spatial_dims=2, channels=(4, 8), latent_channels=3, num_res_blocks=1, norm_num_groups=2,
        attention_levels=(False, True),
    )  # fmt: skip
    with pytest.raises(UsageProblem, match="has MONAI core's names"):
        networks(save(tmp_path, network.state_dict()))
