"""A ControlNet in an imported generator: it draws what the old package's inferers draw."""

from typing import Any

import monai
import numpy as np
import pytest
import torch
from torch.nn import functional

from medsynth.checkpoint import Generator, load_generator
from medsynth.convert.checkpoint import import_checkpoint, read_import
from medsynth.convert.config import ConvertConfig
from medsynth.core.errors import UsageProblem
from medsynth.core.manifest import Manifest
from medsynth.core.masks import load_masks, mask_digest
from medsynth.core.stage import open_stage
from medsynth.models.guidance import Guidance, guided
from medsynth.models.synthesizer import SamplerConfig
from medsynth.sample.cohort import sample
from medsynth.sample.given import Given
from medsynth.sample.plan import Plan

KL = {"num_channels": (4, 8), "latent_channels": 3, "num_res_blocks": 1, "norm_num_groups": 2}
KL |= {"attention_levels": (False, True)}
UNET = {"num_channels": (4, 8), "num_res_blocks": 1, "out_channels": 3, "norm_num_groups": 2}
UNET |= {"attention_levels": (False, True), "num_head_channels": 4}
CONTEXT = {"with_conditioning": True, "cross_attention_dim": 2}
STEPS = 8
SETTINGS = {"norm_num_groups": 2, "num_head_channels": 4}
TOLD: dict[str, Any] = {
    "autoencoder": {"norm_num_groups": 2},
    "denoiser": SETTINGS,
    "controlnet": SETTINGS,
    "darkest": -3.0,
    "brightest": 3.0,
    "scale_factor": 0.7,
    "schedule": "scaled_linear_beta",
    "num_timesteps": STEPS,
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "shape": (8, 12, 1),
}
AGE = [{"low": 40, "high": 80, "count": 90}]
SEX = [{"word": "M", "number": 1.0, "count": 50}, {"word": "F", "number": 0.0, "count": 49}]
ATTRIBUTES = [
    {"name": "age", "unit": "a", "zero_at": 40, "one_at": 80, "bins": AGE},
    {"name": "sex", "bins": SEX},
]
CONTROL = {k: v for k, v in UNET.items() if k != "out_channels"}
CONTROL |= {"conditioning_embedding_num_channels": (4,)}
LABELS = {"name": "lesion", "labels": ["core", "edema"], "numbers": [[0.0], [4.0], [8.0]]}
SKETCH = {"name": "outline", "numbers": [[-6.0], [6.0]]}
WIDER = {"conditioning_embedding_num_channels": (4, 6)}


def told(mask, **changes):
    return ConvertConfig.model_validate(TOLD | {"mask": mask} | changes)


def save(folder, *networks):
    folder.mkdir()
    for number, network in enumerate(networks):
        torch.save(network.state_dict(), folder / f"{number}.pt")
    return folder


@pytest.fixture
def networks(make_old):
    """Old autoencoder, U-Net and ControlNet."""

    def make(dims: int = 2, unet: Any = (), control: Any = ()):
        shared = {"spatial_dims": dims, "in_channels": 3}
        return (
            make_old("AutoencoderKL", spatial_dims=dims, **KL),
            make_old("DiffusionModelUNet", **UNET | shared | dict(unet)),
            make_old("ControlNet", **CONTROL | shared | dict(control)),
        )

    return make


def bring(tmp_path, networks, config) -> Generator:
    source = save(tmp_path / "old", *networks)
    return load_generator(import_checkpoint(source, tmp_path, config).path)


def masks_of(shape, rng, highest=2):
    return [rng.integers(0, highest + 1, shape).astype(np.uint8) for _ in range(2)]


def drawn(generator, masks, requests=({}, {}), guidance=None):
    """Our volumes, and the noise that they came from."""
    (name,) = (a.name for a in generator.schema if a.kind == "mask")
    lent = generator.with_masks({mask_digest(mask): mask for mask in masks})
    rows = [r | {name: mask_digest(m)} for r, m in zip(requests, masks, strict=True)]
    how = SamplerConfig(STEPS, method="ddim", guidance=guidance or Guidance())
    noise = [generator.synthesizer.noise(5, index) for index in range(2)]
    return lent.draw(rows, range(2), seed=5, how=how), torch.from_numpy(np.stack(noise))


def old_scheduler():
    # The old package looks for it where MONAI no longer keeps it.
    monai.config.IgniteInfo = monai.utils.IgniteInfo
    from generative.networks.schedulers import DDIMScheduler

    scheduler = DDIMScheduler(
        num_train_timesteps=STEPS,
        schedule=TOLD["schedule"],
        beta_start=TOLD["beta_start"],
        beta_end=TOLD["beta_end"],
        clip_sample=False,
    )
    scheduler.set_timesteps(STEPS)
    return scheduler


def as_volumes(images, like):
    told_range = TOLD["brightest"] - TOLD["darkest"]
    return np.clip((images.numpy() - TOLD["darkest"]) / told_range, 0, 1).reshape(like.shape)


@pytest.mark.parametrize(
    ("shape", "mask"),
    [((8, 12, 1), LABELS), ((4, 12, 8), LABELS), ((8, 12, 1), SKETCH), ((4, 12, 8), SKETCH)],
)
def test_a_cohort_is_that_of_the_old_packages_inferer(tmp_path, networks, rng, shape, mask) -> None:
    from generative.inferers import ControlNetLatentDiffusionInferer

    parts = networks(2 if shape[2] == 1 else 3)
    generator = bring(tmp_path, parts, told(mask, shape=shape))
    masks = masks_of(shape, rng, 2 if mask is LABELS else 255)
    ours, noise = drawn(generator, masks)
    shown = np.stack(masks) * 4.0 if mask is LABELS else np.stack(masks) / 255 * 12 - 6
    sides = [side for side in shape if side > 1]
    before = ControlNetLatentDiffusionInferer(old_scheduler(), TOLD["scale_factor"]).sample(
        noise,
        *parts,
        torch.from_numpy(shown).float().reshape(2, 1, *sides),
        verbose=False,
    )
    np.testing.assert_allclose(ours, as_volumes(before, ours), atol=1e-5)
    others, _ = drawn(generator, masks[::-1])
    assert np.abs(ours - others).max() > 1e-3


def test_a_picture_of_full_size_is_seen_whole(tmp_path, networks, rng) -> None:
    from generative.inferers import ControlNetDiffusionInferer

    labels = {"name": "lesion", "labels": ["core", "edema"]}
    more = {"conditioning_embedding_in_channels": 2, **WIDER}
    autoencoder, unet, control = parts = networks(control=more)
    masks = masks_of((8, 12, 1), rng)
    ours, noise = drawn(bring(tmp_path, parts, told(labels)), masks)
    codes = torch.from_numpy(np.stack(masks)[..., 0])
    shown = torch.stack([(codes == 1).float(), (codes == 2).float()], dim=1)
    inferer = ControlNetDiffusionInferer(old_scheduler())
    latents = inferer.sample(noise, unet, control, shown, verbose=False)
    with torch.inference_mode():
        before = autoencoder.decode_stage_2_outputs(latents / TOLD["scale_factor"])
    np.testing.assert_allclose(ours, as_volumes(before, ours), atol=1e-5)


BESIDE: dict[str, Any] = {"in_channels": 5}
WAYS = {
    "context of the U-Net alone": (CONTEXT, {}),
    "context of both": (CONTEXT, CONTEXT),
    "beside the U-Net's latents alone": (BESIDE, {}),
    "beside the latents of both": (BESIDE, BESIDE),
}


@pytest.mark.parametrize("way", WAYS)
def test_guided_and_unguided_outputs_are_those_of_the_old_networks(
    tmp_path, networks, rng, way
) -> None:
    _, unet, control = parts = networks(2, *WAYS[way])
    generator = bring(tmp_path, parts, told(LABELS, attributes=ATTRIBUTES))
    mask = masks_of((8, 12, 1), rng)[0]
    lent = generator.with_masks({mask_digest(mask): mask}).synthesizer
    row = {"age": 50.0, "sex": "M", "lesion": mask_digest(mask)}
    z, t = torch.from_numpy(lent.noise(1, 0))[None], 4 / STEPS
    hint = functional.interpolate(torch.from_numpy(mask * 4.0).float()[None, None, ..., 0], (4, 6))

    def before(numbers, is_shown):
        context = torch.tensor(numbers)[None, None]
        planes = context[0, 0].view(1, 2, 1, 1).expand(-1, -1, 4, 6)
        seen = torch.cat([z, planes], dim=1)
        reads = {"context": context} if unet.with_conditioning else {}
        steers = {"context": context} if control.with_conditioning else {}
        steps, wide = torch.tensor([3]), control.conv_in.conv.in_channels == 5
        residuals: dict[str, Any] = {}
        if is_shown:
            down, middle = control(seen if wide else z, steps, hint, **steers)
            residuals["down_block_additional_residuals"] = down
            residuals["mid_block_additional_residual"] = middle
        return unet(z if reads else seen, steps, **reads, **residuals)

    def after(guidance):
        predict = guided(lent.denoiser, lent._conditions([row], guidance), guidance)
        return predict(z, t, 1 / STEPS)

    with torch.inference_mode():
        asked, null, alone = (
            before([0.25, 1.0], True),
            before([-1.0, -1.0], False),
            before([0.25, 1.0], False),
        )
        torch.testing.assert_close(after(Guidance()), asked, atol=1e-5, rtol=1e-5)
        wanted = null + 3 * (asked - null)
        torch.testing.assert_close(after(Guidance(3.0)), wanted, atol=5e-5, rtol=1e-5)
        # The mask with a weight of its own: others first, then what the mask adds.
        wanted = null + 3 * (alone - null) + 2 * (asked - alone)
        found = after(Guidance(3.0, weights={"lesion": 2.0}))
        torch.testing.assert_close(found, wanted, atol=5e-5, rtol=1e-5)
    assert (asked - alone).abs().max() > 1e-2


def test_without_a_mask_the_u_net_is_alone_whoever_is_drawn_beside(tmp_path, networks, rng) -> None:
    autoencoder, unet, _ = parts = networks()
    generator = bring(tmp_path, parts, told(LABELS))
    alone = save(tmp_path / "alone", autoencoder, unet)
    plain = load_generator(import_checkpoint(alone, tmp_path / "plain", told(None)).path)
    mask = masks_of((8, 12, 1), rng)[0]
    lent, how = generator.with_masks({mask_digest(mask): mask}), SamplerConfig(4, method="ddim")
    known = plain.draw([{}, {}], [0, 1], seed=2, how=how)
    np.testing.assert_array_equal(generator.draw([{}, {}], [0, 1], seed=2, how=how), known)
    mixed = lent.draw([{"lesion": mask_digest(mask)}, {}], [0, 1], seed=2, how=how)
    np.testing.assert_array_equal(mixed[1], known[1])
    assert np.abs(mixed[0] - known[0]).max() > 1e-3


def test_sample_takes_masks_for_an_imported_generator_in_any_precision(
    tmp_path, networks, rng
) -> None:
    generator = bring(tmp_path, networks(), told(LABELS))
    masks = tuple(masks_of((8, 12, 1), rng))
    given, plan = Given({"lesion": masks}), Plan(count=3, num_steps=2)
    made = sample(open_stage(tmp_path / "checkpoint"), tmp_path, plan, given=given)
    rows = [scan.attributes for scan in Manifest.read(made.path)]
    assert [row["lesion"] for row in rows] == [mask_digest(masks[n]) for n in (0, 1, 0)]
    assert set(load_masks(made.path, generator.schema, rows)) == {*map(mask_digest, masks)}
    said = read_import(tmp_path / "checkpoint")
    assert said["ControlNet"]["difference"] < 1e-9
    assert said["ControlNet"]["proof"].startswith("proved by comparison")

    ours = generator.synthesizer
    full, _ = drawn(generator, list(masks))
    ours.denoiser.to(torch.bfloat16)
    half, _ = drawn(generator, list(masks))
    assert 0 < np.abs(full - half).max() < 0.2


@pytest.mark.parametrize(
    ("mask", "control", "match"),
    [
        (None, {}, "convert.mask must tell what the ControlNet was shown: a picture of 1 chan"),
        ({"name": "m", "labels": ["a", "b"]}, {}, "picture of 1 channels, but .* one of 2"),
        (LABELS, {"num_channels": (4, 4)}, "must have the channels of its U-Net"),
        (LABELS, {"num_res_blocks": 2}, "must have the num_res_blocks of its U-Net"),
        (LABELS, {"spatial_dims": 3}, "must have the spatial_dims of its U-Net, 2, got 3"),
        (LABELS, {"in_channels": 4}, "latents of 3 channels, or what its U-Net reads, but it"),
        (LABELS, CONTEXT, "no condition or that of its U-Net: cross_attention_dim is 2"),
        (LABELS, {"num_class_embeds": 3}, "num_class_embeds is 3 and not None"),
    ],
)
def test_a_controlnet_that_does_not_fit_is_refused(
    tmp_path, networks, mask, control, match
) -> None:
    with pytest.raises(UsageProblem, match=match):
        bring(tmp_path, networks(control=control), told(mask))
    assert not (tmp_path / "checkpoint").exists()


def test_a_controlnet_needs_its_u_net_and_a_mask_its_controlnet(tmp_path, networks) -> None:
    a, u, c = networks()
    with pytest.raises(UsageProblem, match="must come with the DiffusionModelUNet"):
        bring(tmp_path, [a, c], told(LABELS))
    with pytest.raises(UsageProblem, match=r"convert\.mask is a ControlNet's"):
        import_checkpoint(save(tmp_path / "two", a, u), tmp_path, told(LABELS))


@pytest.mark.parametrize("numbers", [[[0.0], [1.0]], [[0.0], [1.0, 0.0], [1.0]]])
def test_numbers_that_are_no_table_are_refused(numbers) -> None:
    with pytest.raises(ValueError, match="a row for the background and each label"):
        told(LABELS | {"numbers": numbers})


def test_a_mask_must_not_have_an_attributes_name() -> None:
    with pytest.raises(ValueError, match="names of their own"):
        told(LABELS | {"name": "age"}, attributes=ATTRIBUTES)
