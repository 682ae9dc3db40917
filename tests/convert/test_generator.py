"""Imported networks as a generator of ours: it draws what the old package draws."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monai
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flows.white_box import WhiteBox
from medsynth.checkpoint import load_generator
from medsynth.convert.checkpoint import import_checkpoint, read_import
from medsynth.convert.config import ConvertConfig
from medsynth.core.errors import UsageProblem
from medsynth.core.manifest import Manifest
from medsynth.core.stage import open_stage
from medsynth.models.guidance import Guidance
from medsynth.models.synthesizer import SamplerConfig
from medsynth.sample.cohort import sample
from medsynth.sample.plan import Plan

KL = {"num_channels": (4, 8), "latent_channels": 3, "num_res_blocks": 1, "norm_num_groups": 2}
KL |= {"attention_levels": (False, True)}
UNET = {"num_channels": (4, 8), "num_res_blocks": 1, "out_channels": 3, "norm_num_groups": 2}
UNET |= {"attention_levels": (False, True), "num_head_channels": 4}
CONTEXT = {"with_conditioning": True, "cross_attention_dim": 2}
STEPS = 8
TOLD: dict[str, Any] = {
    "autoencoder": {"norm_num_groups": 2},
    "denoiser": {"norm_num_groups": 2, "num_head_channels": 4},
    "darkest": -3.0,
    "brightest": 3.0,
    "scale_factor": 0.7,
    "target": "epsilon",
    "schedule": "scaled_linear_beta",
    "num_timesteps": STEPS,
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "shape": (8, 12, 1),
    "spacing": (2.0, 1.0, 1.0),
    "modality": "MR",
}
ATTRIBUTES = [
    {
        "name": "age",
        "unit": "a",
        "zero_at": 40,
        "one_at": 80,
        "bins": [{"low": 40, "high": 60, "count": 90}, {"low": 60, "high": 80, "count": 9}],
    },
    {
        "name": "sex",
        "bins": [
            {"word": "M", "number": 1.0, "count": 50},
            {"word": "F", "number": 0.0, "count": 49},
        ],
    },
]


def told(**changes: Any) -> ConvertConfig:
    return ConvertConfig.model_validate(TOLD | changes)


def save(folder: Path, **networks: nn.Module) -> Path:
    folder.mkdir()
    for name, network in networks.items():
        torch.save(network.state_dict(), folder / f"{name}.pt")
    return folder


def old_schedulers() -> Any:
    # The old package looks for it where MONAI no longer keeps it.
    monai.config.IgniteInfo = monai.utils.IgniteInfo
    from generative.networks import schedulers

    return schedulers


def draw_as_before(
    autoencoder: nn.Module, unet: nn.Module, noise: Tensor, how: Mapping[str, Any], **inputs: Any
) -> np.ndarray:
    """The old package's own loop: DDIM over every timestep, then its decoder."""
    scheduler = old_schedulers().DDIMScheduler(
        num_train_timesteps=STEPS,
        schedule=how["schedule"],
        beta_start=how["beta_start"],
        beta_end=how["beta_end"],
        prediction_type={"v": "v_prediction"}.get(how["target"], how["target"]),
        clip_sample=False,
    )
    scheduler.set_timesteps(STEPS)
    z, beside = noise, inputs.pop("beside", None)
    with torch.inference_mode():
        for t in scheduler.timesteps:
            seen = z if beside is None else torch.cat([z, beside], dim=1)
            output = unet(seen, timesteps=torch.full((len(z),), int(t)), **inputs)
            z, _ = scheduler.step(output, int(t), z)
        images = autoencoder.decode_stage_2_outputs(z / how["scale_factor"]).numpy()
    return np.clip((images - how["darkest"]) / (how["brightest"] - how["darkest"]), 0, 1)


def draw(checkpoint: Path, requests: list[dict[str, Any]]) -> tuple[np.ndarray, Tensor]:
    """Our volumes as the decoder gives them, and the noise that they came from."""
    generator = load_generator(checkpoint)
    indices = range(len(requests))
    noise = np.stack([generator.synthesizer.noise(5, index) for index in indices])
    how = SamplerConfig(STEPS, method="ddim")
    return generator.draw(requests, indices, seed=5, how=how), torch.from_numpy(noise)


@pytest.mark.parametrize(
    ("target", "shape"), [("epsilon", (8, 12, 1)), ("sample", (8, 12, 1)), ("v", (4, 12, 8))]
)
def test_an_unconditional_generator_draws_what_the_old_package_draws(
    tmp_path, make_old, target, shape
) -> None:
    dims = 2 if shape[2] == 1 else 3
    autoencoder = make_old("AutoencoderKL", spatial_dims=dims, **KL)
    unet = make_old("DiffusionModelUNet", spatial_dims=dims, in_channels=3, **UNET)
    how = TOLD | {"target": target}
    source = save(tmp_path / "old", autoencoder=autoencoder, unet=unet)
    made = import_checkpoint(source, tmp_path, told(target=target, shape=shape))
    ours, noise = draw(made.path, [{}, {}])
    before = draw_as_before(autoencoder, unet, noise, how)
    np.testing.assert_allclose(ours, before.reshape(ours.shape), atol=1e-5)
    assert ours.std() > 0.02


CONDITIONED = {
    "context": CONTEXT | {"in_channels": 3},
    "beside": {"in_channels": 5},
    "both": CONTEXT | {"in_channels": 5},
}


@pytest.mark.parametrize("way", CONDITIONED)
def test_a_condition_reaches_the_network_as_it_did_before(tmp_path, make_old, way) -> None:
    autoencoder = make_old("AutoencoderKL", spatial_dims=2, **KL)
    unet = make_old("DiffusionModelUNet", spatial_dims=2, **UNET | CONDITIONED[way])
    source = save(tmp_path / "old", autoencoder=autoencoder, unet=unet)
    made = import_checkpoint(source, tmp_path, told(attributes=ATTRIBUTES))
    ours, noise = draw(made.path, [{"age": 50.0, "sex": "M"}, {"age": 80.0, "sex": "F"}])
    numbers = torch.tensor([[0.25, 1.0], [1.0, 0.0]])
    inputs: dict[str, Any] = {"context": numbers[:, None]} if way != "beside" else {}
    if way != "context":
        inputs["beside"] = numbers[:, :, None, None].expand(-1, -1, *noise.shape[2:])
    before = draw_as_before(autoencoder, unet, noise, TOLD, **inputs)
    np.testing.assert_allclose(ours, before.reshape(ours.shape), atol=1e-5)


def test_a_class_reaches_the_network_as_it_did_before(tmp_path, make_old) -> None:
    classes = {"in_channels": 3, "num_class_embeds": 3}
    autoencoder = make_old("AutoencoderKL", spatial_dims=2, **KL)
    unet = make_old("DiffusionModelUNet", spatial_dims=2, **UNET | classes)
    words = [{"word": w, "number": n, "count": 20} for n, w in enumerate(["PA", "AP"])]
    view = {"name": "view", "unasked": 2.0, "bins": words}
    source = save(tmp_path / "old", autoencoder=autoencoder, unet=unet)
    made = import_checkpoint(source, tmp_path, told(attributes=[view]))
    ours, noise = draw(made.path, [{"view": "AP"}, {"view": "PA"}])
    before = draw_as_before(autoencoder, unet, noise, TOLD, class_labels=torch.tensor([1, 0]))
    np.testing.assert_allclose(ours, before.reshape(ours.shape), atol=1e-5)


@pytest.fixture
def conditioned(tmp_path, make_old):
    """A checkpoint of ours, made from a conditioned generator."""
    autoencoder = make_old("AutoencoderKL", spatial_dims=2, **KL)
    unet = make_old("DiffusionModelUNet", spatial_dims=2, **UNET | CONTEXT, in_channels=3)
    source = save(tmp_path / "old", autoencoder=autoencoder, unet=unet)
    return import_checkpoint(source, tmp_path, told(attributes=ATTRIBUTES))


def test_sample_draws_a_cohort_from_cells_that_were_told(tmp_path, conditioned) -> None:
    made = sample(open_stage(conditioned.path), tmp_path, Plan(count=6, num_steps=4))
    scans = list(Manifest.read(made.path))
    assert [scan.modality for scan in scans] == ["MR"] * 6
    # Only 9 people were told of above 60: k_min is 11.
    assert all(40 <= scan.attributes["age"] < 60 for scan in scans)
    assert {scan.attributes["sex"] for scan in scans} <= {"F", "M"}


@pytest.mark.parametrize("where", ["age=60..79", "age=41..45"])
def test_what_too_few_were_told_of_is_refused(tmp_path, conditioned, where) -> None:
    with pytest.raises(UsageProblem, match="fewer than 11 training subjects share for sure"):
        sample(conditioned, tmp_path, Plan(count=2, where=where))


def test_what_nobody_told_of_is_refused(tmp_path, conditioned) -> None:
    with pytest.raises(UsageProblem, match="age must lie in the trained range"):
        sample(conditioned, tmp_path, Plan(count=2, where="age=85"))


def test_nothing_asked_is_the_number_told_for_it(conditioned) -> None:
    ours = load_generator(conditioned.path).synthesizer
    condition = ours._condition([{"age": 60.0, "sex": "M"}], {"sex"}, {})
    assert condition.tolist() == [[[-1.0, 1.0]]]


def test_guidance_of_an_imported_generator_changes_its_scans(conditioned) -> None:
    generator, request = load_generator(conditioned.path), [{"age": 50.0, "sex": "M"}]

    def scan(weight: float) -> np.ndarray:
        how = SamplerConfig(4, method="ddim", guidance=Guidance(weight))
        return generator.draw(request, [0], seed=1, how=how)

    assert np.abs(scan(1.0) - scan(3.0)).max() > 1e-4


def test_the_judge_can_look_into_an_imported_generator(conditioned, rng) -> None:
    box = WhiteBox(load_generator(conditioned.path))
    z = box.encode(rng.random((2, 8, 12, 1), dtype=np.float32))
    condition = box.condition([{"age": 50.0, "lesion": "yes"}, {"sex": "X"}])
    assert condition.tolist() == [[[0.25, -1.0]], [[-1.0, -1.0]]]
    noise, clean = box.predict(z, 0.5, condition)
    a, s = box.path(0.5)
    np.testing.assert_allclose(a * clean + s * noise, z, atol=1e-4)
    assert box.decode(z).shape == (2, 8, 12, 1)


def test_import_json_tells_arguments_guesses_and_proof(conditioned) -> None:
    said = read_import(conditioned.path)
    assert set(said) == {"AutoencoderKL", "DiffusionModelUNet"}
    assert said["AutoencoderKL"]["assumed"] == {"norm_eps": 1e-6, "use_convtranspose": False}
    assert said["AutoencoderKL"]["num_left_out"] == 2 * 4
    for network in said.values():
        assert network["difference"] < 1e-9
        assert network["proof"].startswith("proved by comparison")
    receipt = conditioned.receipt
    assert receipt["config"]["compared_with"] == "monai-generative 0.2.3"
    assert "import.json" in receipt["files"]


def test_the_same_files_are_not_imported_twice(tmp_path, conditioned) -> None:
    again = import_checkpoint(tmp_path / "old", tmp_path, told(attributes=ATTRIBUTES))
    assert again.reused
    assert not import_checkpoint(
        tmp_path / "old", tmp_path, told(**{"attributes": ATTRIBUTES, "scale_factor": 1.0})
    ).reused


VQ = {
    "in_channels": 1, "out_channels": 1, "num_channels": (4, 6), "num_res_layers": 1,
    "num_res_channels": (4, 6), "num_embeddings": 9, "embedding_dim": 3,
    "downsample_parameters": ((2, 4, 1, 1),) * 2, "upsample_parameters": ((2, 4, 1, 1, 0),) * 2,
}  # fmt: skip


@pytest.mark.parametrize("kind", ["AutoencoderKL", "VQVAE"])
def test_round_trips_are_those_of_the_old_autoencoder(tmp_path, make_old, kind, rng) -> None:
    autoencoder = make_old(kind, spatial_dims=2, **KL if kind == "AutoencoderKL" else VQ)
    unet = make_old("DiffusionModelUNet", spatial_dims=2, in_channels=3, **UNET)
    source = save(tmp_path / "old", autoencoder=autoencoder, unet=unet)
    config = told(darkest=-1.0, brightest=3.0, shape=(8, 16, 1))
    made = import_checkpoint(source, tmp_path, config)
    volumes = rng.random((2, 8, 16, 1), dtype=np.float32)
    images = torch.from_numpy(volumes[:, None, ..., 0]) * 4 - 1
    with torch.inference_mode():
        latents = (
            autoencoder.encode(images)[0]
            if kind == "AutoencoderKL"
            else autoencoder.encode_stage_2_inputs(images)
        )
        before = (autoencoder.decode_stage_2_outputs(latents).numpy() + 1) / 4
    after = load_generator(made.path).round_trip(volumes)
    np.testing.assert_allclose(after[..., 0], np.clip(before[:, 0], 0, 1), atol=1e-5)


def test_a_lone_autoencoder_draws_nothing(tmp_path, make_old) -> None:
    source = save(tmp_path / "old", autoencoder=make_old("AutoencoderKL", spatial_dims=2, **KL))
    made = import_checkpoint(source, tmp_path, told())
    with pytest.raises(UsageProblem, match="holds an autoencoder alone"):
        load_generator(made.path)


def refuse(folder: Path, match: str, config: ConvertConfig, **networks: nn.Module) -> None:
    with pytest.raises(UsageProblem, match=match):
        import_checkpoint(save(folder / "old", **networks), folder, config)
    assert not (folder / "checkpoint").exists()


def test_a_lone_denoiser_is_refused(tmp_path, make_old) -> None:
    unet = make_old("DiffusionModelUNet", spatial_dims=2, in_channels=3, **UNET)
    refuse(tmp_path, "one autoencoder must be given .* found DiffusionModelUNet", told(), unet=unet)


@pytest.mark.parametrize(
    ("changes", "arguments", "match"),
    [
        ({"shape": None}, {}, "convert.shape must tell the voxels"),
        ({"shape": (8, 8, 8)}, {}, "must end in 1 for 2D networks alone"),
        ({}, CONTEXT, "reads 2 numbers of a condition, but convert.attributes tells of 0"),
        ({"attributes": ATTRIBUTES}, {}, "reads 0 numbers of a condition, but"),
        ({}, {"in_channels": 2}, "must read latents of 3 channels, but it reads 2"),
        ({}, {"out_channels": 2}, "must write latents of 3 channels, but it writes 2"),
        ({}, {"in_channels": 4, **CONTEXT}, "must read one condition"),
        ({}, {"spatial_dims": 3}, "must both be 2D, or both 3D"),
    ],
)
def test_networks_that_do_not_fit_are_refused(
    tmp_path, make_old, changes, arguments, match
) -> None:
    autoencoder = make_old("AutoencoderKL", spatial_dims=2, **KL)
    shape = {"spatial_dims": 2, "in_channels": 3, **UNET, **arguments}
    unet = make_old("DiffusionModelUNet", **shape)
    refuse(tmp_path, match, told(**changes), autoencoder=autoencoder, unet=unet)


def test_an_autoencoder_of_two_channels_is_refused(tmp_path, make_old) -> None:
    colors = make_old("AutoencoderKL", spatial_dims=2, in_channels=2, **KL)
    refuse(tmp_path, "scans of one channel", told(), autoencoder=colors)
