import pytest
import torch
from monai.networks.schedulers import DDPMScheduler, RFlowScheduler
from torch import Tensor

from benchmarks.monai_peer import UNASKED, Noise, Velocity
from benchmarks.sampler_error import sum_of_dt
from benchmarks.time_to_loss import Cohort, Curve, Yardstick
from medsynth.core.schema import AttributeSchema
from medsynth.models.conditioning import ConditionEncoder, encode_attributes
from medsynth.models.denoiser import Denoiser, DenoiserConfig
from medsynth.models.objective import Objective
from medsynth.train.diffusion import ConditionedDenoiser

SPREAD = 0.7


@pytest.fixture
def denoiser() -> Denoiser:
    torch.manual_seed(0)
    config = DenoiserConfig(2, 2, 1, channels=(16,), token_dim=8)
    network = Denoiser(config).eval()
    torch.nn.init.normal_(network.network.out[2].conv.weight)
    return network


class OfNormalData(Velocity):
    """The exact velocity where data are normal with sd SPREAD."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        t = timesteps.double() / 1000
        return ((1 - t) * SPREAD**2 - t) / ((1 - t) ** 2 * SPREAD**2 + t**2) * x


@pytest.mark.parametrize("timestep", [0, 300, 999])
def test_a_velocity_tells_the_noise_of_the_other_path(timestep: int) -> None:
    left = DDPMScheduler(1000).alphas_cumprod
    x = torch.linspace(-2, 2, 8, dtype=torch.float64).view(1, 2, 2, 2)
    found = Noise(OfNormalData(), left)(x, torch.tensor([timestep]), x)
    a2 = float(left[timestep])
    expected = (1 - a2) ** 0.5 / (a2 * SPREAD**2 + 1 - a2) * x
    torch.testing.assert_close(found, expected)


def test_the_peer_sees_our_velocity_and_our_null_token(denoiser: Denoiser) -> None:
    x, tokens, null = torch.randn(3, 2, 8, 8), torch.randn(3, 1, 8), torch.randn(1, 1, 8)
    asked = torch.cat([tokens[:2], torch.full((1, 1, 8), UNASKED)])
    with torch.no_grad():
        theirs = Velocity(denoiser, null)(x, torch.tensor([250.0]), asked)
        ours = denoiser(x, torch.full((3,), 0.25), torch.cat([tokens[:2], null]))
    assert float(ours.abs().max()) > 0.1
    torch.testing.assert_close(theirs, ours)


def test_a_denoiser_that_counts_times_otherwise_is_no_peer() -> None:
    config = DenoiserConfig(2, 2, 1, channels=(16,), token_dim=8, time_offset=1.0)
    with pytest.raises(ValueError, match="from 0 to 1000"):
        Velocity(Denoiser(config))


def test_maisis_settings_travel_further_than_the_way_is_long() -> None:
    plain, maisi = (
        RFlowScheduler(),
        RFlowScheduler(
            use_discrete_timesteps=False, use_timestep_transform=True, transform_scale=1.4
        ),
    )
    for scheduler in (plain, maisi):
        scheduler.set_timesteps(30, input_img_size_numel=32**3)
    assert sum_of_dt(plain) == 1
    assert sum_of_dt(maisi) > 1.005


def test_a_silent_network_misses_all_of_the_noise_and_all_of_the_velocity() -> None:
    schema, latents = AttributeSchema(()), torch.randn(6, 2, 8, 8)
    asked = encode_attributes(schema, {}, [{}] * 6)
    config = DenoiserConfig(2, 2, 1, channels=(16,), token_dim=8)
    network = ConditionedDenoiser(ConditionEncoder(schema, {}, 8), Denoiser(config), Objective())
    is_held_out = torch.tensor([True, True, False, False, False, True])
    yardstick = Yardstick(Cohort(latents, asked, is_held_out, None), seed=0)
    all_noise = float(yardstick.noise.square().mean())
    all_velocity = float((latents[is_held_out] - yardstick.noise).square().mean())
    assert yardstick.peer(network)["noise"] == pytest.approx(all_noise, rel=1e-4)
    assert yardstick.ours(network)["flow"] == pytest.approx(all_velocity, rel=1e-4)


def test_a_curve_tells_when_it_was_first_no_worse() -> None:
    curve = Curve()
    for seconds, loss in ((1.0, 0.9), (2.0, 0.5), (3.0, 0.4)):
        curve.add(seconds, {"flow": loss})
    assert curve.until("flow", 0.5) == 2.0
    assert curve.until("flow", 0.3) == float("inf")
    assert curve.best("flow") == (0.4, 3.0)
