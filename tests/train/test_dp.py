import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from medsynth.checkpoint import load_generator
from medsynth.core.errors import UsageProblem
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.core.stage import open_stage
from medsynth.models.conditioning import ConditionEncoder, encode_attributes
from medsynth.models.denoiser import Denoiser, DenoiserConfig
from medsynth.models.objective import Objective
from medsynth.models.synthesizer import SamplerConfig
from medsynth.models.trained import TrainedAttribute
from medsynth.train.config import TrainConfig
from medsynth.train.diffusion import ConditionedDenoiser
from medsynth.train.dp import PrivateSteps, rows_of_subjects
from medsynth.train.dp_accounting import Mechanism, plan_mechanism
from medsynth.train.dp_chance import Chance, draw_subjects
from medsynth.train.dp_config import DpConfig
from medsynth.train.dp_denoiser import prediction_error, private_steps
from medsynth.train.dp_gradients import sum_clipped
from medsynth.train.dp_statement import read_statement
from medsynth.train.train import train

PEER = Path(__file__).parents[2] / ".peers" / "dp_accounting"

# Noise multiplier, sampling rate, steps, delta; epsilon by dp-accounting 0.6.0: PLD, RDP.
KNOWN = [
    (11.5, 0.128, 900, 2e-4, 1.0115, 1.1369),
    (1.1, 0.25, 50, 1 / 600, 7.2844, 8.5540),
    (4.7, 1.0, 20, 1e-3, 2.9518, 3.3297),
]
ASK_PEER = """
import sys
from dp_accounting import dp_event as e
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
noise, rate, steps, delta = map(float, sys.argv[1:])
event = e.PoissonSampledDpEvent(rate, e.GaussianDpEvent(noise))
event = e.SelfComposedDpEvent(event, int(steps))
print(*(kind().compose(event).get_epsilon(delta) for kind in (PLDAccountant, RdpAccountant)))
"""


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def make_network(dims=2):
    schema = AttributeSchema((Attribute("age", "continuous"), Attribute("sex", "category")))
    trained = {
        "age": TrainedAttribute("age", 40.0, 10.0),
        "sex": TrainedAttribute("sex", words=("F", "M")),
    }
    torch.manual_seed(0)
    shape = DenoiserConfig(dims, 2, 2, channels=(16, 32), norm_groups=8)
    network = ConditionedDenoiser(
        ConditionEncoder(schema, trained, shape.token_dim),
        Denoiser(shape),
        Objective(),
    )
    for parameter in network.parameters():  # a fresh denoiser ends in zeros
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return network, schema, trained


def make_inputs(schema, trained, subjects=10, draws=3, sides=(4, 6)):
    ages = [{"age": float(20 + n), "sex": ("F", "M", None)[n % 3]} for n in range(subjects * draws)]
    asked = encode_attributes(schema, trained, ages).dropped(0.2)
    flat = torch.randn(2, subjects * draws, 2, *sides)
    parts = (*flat, torch.rand(subjects * draws), asked.values, asked.states)
    return tuple(p.reshape(subjects, draws, *p.shape[1:]) for p in parts)


def gradient_by_autograd(network, inputs):
    network.zero_grad()
    prediction_error(network, *inputs).backward()
    return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


def norm(gradients):
    return float(torch.cat([g.double().flatten() for g in gradients.values()]).norm())


@pytest.mark.parametrize("sides", [(4, 6), (2, 4, 6)])
@pytest.mark.parametrize("clip_norm", [0.05, 1e6])
def test_gradients_equal_those_of_one_subject_at_a_time(sides, clip_norm):
    network, schema, trained = make_network(len(sides))
    inputs = make_inputs(schema, trained, sides=sides)
    expected = dict.fromkeys(dict(network.named_parameters()), 0.0)
    for subject in zip(*inputs, strict=True):
        alone = gradient_by_autograd(network, subject)
        factor = min(1.0, clip_norm / norm(alone))
        expected = {name: total + factor * alone.get(name, 0) for name, total in expected.items()}
    got = sum_clipped(network, prediction_error, inputs, clip_norm)
    assert norm({name: got[name] - expected[name] for name in got}) < 2e-5 * norm(got)


class Sum(torch.nn.Module):
    """Its gradient is the mean of what a subject brings."""

    def __init__(self, size):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(size))

    def forward(self, x):
        return x @ self.weight


def mean_of(forward, x):
    return forward(x).mean()


def toy_steps(scans, subjects, *, noise=0.0, rate=1.0, clip_norm=1.0, num_steps=10, key=b"k"):
    config = DpConfig(clip_norm=clip_norm, draws_per_subject=4, scans_per_subject=4)
    mechanism = Mechanism(noise, rate, num_steps, 1e-3)
    rows = rows_of_subjects(subjects)
    return PrivateSteps(config, mechanism, rows, lambda r: (scans[r],), mean_of, Chance(key))


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6, float("inf"), float("nan")])
def test_a_subject_of_20_scans_moves_the_sum_by_the_clipping_norm_at_most(size):
    scans = torch.randn(40, 7)
    scans[20:] = size
    subjects = [f"a{n}" for n in range(20)] + ["b"] * 20
    network = Sum(7)
    sums = []
    for count in (20, 40):  # without and with the subject
        steps = toy_steps(scans, subjects[:count], clip_norm=0.5)
        steps(network, 0)
        sums.append(network.weight.grad * len(steps.rows_by_subject))
    moved = float((sums[1] - sums[0]).norm())
    assert moved <= 0.5 + 1e-5
    assert moved > (0 if np.isfinite(size) else -1)


def test_the_denoisers_steps_are_bounded_by_the_subject_too():
    network, schema, trained = make_network()
    subjects = ["a", "b", *["c"] * 20]
    asked = encode_attributes(schema, trained, [{"age": 30.0, "sex": "F"}] * len(subjects))
    x0 = 1e4 * torch.randn(len(subjects), 2, 4, 4)
    dp = DpConfig(subjects_per_step=3, clip_norm=0.25)
    steps = private_steps(
        x0, asked, subjects, dp, num_steps=2, attribute_dropout=0.1, objective=Objective()
    )
    quiet = dataclasses.replace(
        steps, mechanism=dataclasses.replace(steps.mechanism, noise_multiplier=0.0)
    )
    inputs = quiet.inputs(draw_subjects(quiet.rows_by_subject, 1.0, 4, 4, np.random.default_rng(0)))
    assert [tuple(part.shape[:2]) for part in inputs] == [(3, 4)] * 5
    alone = [
        sum_clipped(network, quiet.loss, tuple(p[n : n + 1] for p in inputs), 0.25)
        for n in range(3)
    ]
    assert [norm(gradient) for gradient in alone] == pytest.approx([0.25] * 3, rel=1e-4)


def test_a_step_divides_by_the_expected_number_of_subjects_not_by_the_one_that_came():
    scans, network = torch.ones(50, 1), Sum(1)
    steps = toy_steps(scans, [str(n) for n in range(50)], rate=0.3)
    found = []
    for step in range(40):
        steps(network, step)
        found.append(float(network.weight.grad) * 0.3 * 50)
    assert found == pytest.approx([round(x) for x in found], abs=1e-3)
    assert len(set(map(round, found))) > 5
    assert np.mean(found) == pytest.approx(15, abs=2)


def test_noise_has_the_stated_size_even_where_nobody_came():
    steps = toy_steps(torch.zeros(4, 5000), list("abcd"), noise=3.0, rate=0.01, clip_norm=0.5)
    network = Sum(5000)
    steps(network, 0)
    first = network.weight.grad * 0.01 * 4
    assert float(first.std()) == pytest.approx(1.5, rel=0.05)
    steps(network, 1)
    assert abs(float(torch.corrcoef(torch.stack([first, network.weight.grad]))[0, 1])) < 0.05


def test_chance_is_new_in_every_training():
    streams = [Chance().stream("noise", 0).standard_normal(4) for _ in range(2)]
    assert not np.allclose(*streams)
    assert "key" not in repr(Chance())


def test_everybody_takes_part_by_a_coin_with_few_scans_of_each():
    rows = [np.arange(20 * n, 20 * n + 20) for n in range(30)] + [np.array([600])]
    rng, seen = np.random.default_rng(0), []
    for _ in range(200):
        drawn = draw_subjects(rows, 0.25, 6, 3, rng).numpy()
        seen.append(len(drawn))
        assert all(len(set(d // 20)) == 1 and len(set(d)) <= 3 for d in drawn)
    assert np.mean(seen) == pytest.approx(31 * 0.25, abs=0.6)
    assert np.var(seen) == pytest.approx(31 * 0.25 * 0.75, rel=0.3)


@pytest.mark.parametrize(("noise", "rate", "num_steps", "delta", "pld", "rdp"), KNOWN)
def test_epsilon_agrees_with_dp_accounting_within_a_percent(
    noise, rate, num_steps, delta, pld, rdp
):
    ours = Mechanism(noise, rate, num_steps, delta)
    assert ours.epsilon("prv") == pytest.approx(pld, rel=0.01)
    assert ours.epsilon("rdp") == pytest.approx(rdp, rel=0.01)


@pytest.mark.skipif(not PEER.is_dir(), reason="dp-accounting is absent: run `make peers`")
@pytest.mark.parametrize(("noise", "rate", "num_steps", "delta", "pld", "rdp"), KNOWN[2:])
def test_the_known_figures_are_dp_accountings(noise, rate, num_steps, delta, pld, rdp):
    numbers = map(str, (noise, rate, num_steps, delta))
    asked = [sys.executable, "-c", ASK_PEER, *numbers]
    done = subprocess.run(
        asked, env={"PYTHONPATH": str(PEER)}, capture_output=True, text=True, check=True
    )
    assert [float(x) for x in done.stdout.split()] == pytest.approx([pld, rdp], rel=1e-3)


def test_the_least_noise_that_keeps_the_promise_is_chosen():
    planned = plan_mechanism(DpConfig(epsilon=3.0, subjects_per_step=100), 60, 20)
    assert (planned.sampling_rate, planned.delta) == (1.0, pytest.approx(1 / 600))
    assert 2.9 < planned.epsilon() <= 3.0
    assert dataclasses.replace(planned, noise_multiplier=0.0).epsilon() == float("inf")


PRIVATE = DpConfig(subjects_per_step=24, draws_per_subject=2)


@pytest.fixture
def public(tmp_path, prepared, tiny):
    """A checkpoint trained on other scans."""
    return train(prepared(tmp_path / "public", num_train=12), tmp_path / "public", tiny)[1]


def test_a_private_training_says_what_it_promises_and_tells_nothing_else(
    tmp_path, prepared, tiny, public
):
    source, reports = prepared(tmp_path), []
    private = tiny.model_copy(update={"dp": PRIVATE})
    latents, checkpoint = train(
        source, tmp_path, private, public_autoencoder=public, on_step=reports.append
    )
    statement = read_statement(checkpoint.path)
    assert 7 < statement["epsilon"] <= 8
    assert statement["delta"] == pytest.approx(1 / 240)
    assert statement["num_subjects"] == 24
    status = {part["what"]: part["status"] for part in statement["parts"]}
    assert status["autoencoder"] == status["latent scale"] == status["early stopping"] == "public"
    assert status["averages of weights"] == "dp"
    assert status["histogram of attributes"] == status["screening and audit"] == "not covered"
    assert {name for report in reports for name in report.metrics} == {"epsilon"}
    assert all(set(row) == {"step", "epsilon"} for row in history(checkpoint))
    assert history(checkpoint)[-1]["epsilon"] == pytest.approx(statement["accounting"]["rdp"])
    assert latents.receipt["parents"]["autoencoder"] == public.digest
    assert files(latents)["autoencoder.safetensors"] == files(public)["autoencoder.safetensors"]
    volumes = load_generator(checkpoint.path).draw([{}], [0], seed=0, how=SamplerConfig(2))
    assert np.isfinite(volumes).all()
    again = train(source, tmp_path, private, public_autoencoder=public)
    assert all(stage.reused for stage in again)


def history(checkpoint):
    return json.loads((checkpoint.path / "training.json").read_text())["history"]


def files(stage):
    return open_stage(stage.path).receipt["files"]


def test_without_privacy_nothing_is_promised(public):
    assert read_statement(public.path) is None


def test_two_private_trainings_of_one_seed_differ(tmp_path, prepared, tiny, public):
    private = tiny.model_copy(update={"dp": PRIVATE})
    weights = {
        files(train(prepared(tmp_path / n), tmp_path / n, private, public_autoencoder=public)[1])[
            "denoiser.safetensors"
        ]
        for n in "ab"
    }
    assert len(weights) == 2


def test_an_autoencoder_of_the_private_scans_is_refused(tmp_path, prepared, tiny):
    source = prepared(tmp_path)
    private = tiny.model_copy(update={"dp": PRIVATE})
    with pytest.raises(UsageProblem, match="needs a public autoencoder"):
        train(source, tmp_path, private)
    latents, own = train(source, tmp_path, tiny)
    with pytest.raises(UsageProblem, match="must not be trained on the private scans"):
        train(source, tmp_path, tiny, public_autoencoder=own)
    with pytest.raises(UsageProblem, match="must not be trained on the private scans"):
        train(source, tmp_path, private, public_autoencoder=own)
    with pytest.raises(UsageProblem, match="must be a checkpoint, got latents"):
        train(source, tmp_path, private, public_autoencoder=latents)


def test_an_autoencoder_of_another_shape_is_refused(tmp_path, prepared, tiny, public):
    other = tiny.model_copy(update={"dp": PRIVATE, "latent_channels": 3})
    with pytest.raises(UsageProblem, match="must have the latents"):
        train(prepared(tmp_path), tmp_path, other, public_autoencoder=public)


def test_private_training_runs_in_fp32():
    assert TrainConfig(dp=DpConfig(), precision="bf16").recipe("checkpoint", 0).precision == "fp32"
