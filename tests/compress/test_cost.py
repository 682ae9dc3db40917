import dataclasses

import pytest

from medsynth.checkpoint import load_generator, save_generator
from medsynth.compress.cost import Drawer, race
from medsynth.models.guidance import Guidance
from medsynth.models.synthesizer import SamplerConfig


@pytest.fixture(scope="module")
def drawer(teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    save_generator(folder, teacher, prepared_digest="")
    return Drawer(teacher, SamplerConfig(4, "euler"), folder)


def test_passes_are_rows_through_the_denoiser(drawer, requests):
    guided = SamplerConfig(4, "euler", Guidance(2.0, 0.0, 1.0))
    other = dataclasses.replace(drawer, how=guided)
    ours, theirs, speedup = race(drawer, other, requests[: drawer.generator.batch], 3)
    assert (ours.passes, theirs.passes) == (4.0, 8.0)
    assert speedup.low <= speedup.value <= speedup.high
    assert speedup.n == 3


def test_bytes_are_those_on_disk_and_parameters_those_in_memory(drawer, requests, tmp_path):
    halved = dataclasses.replace(drawer.generator, precision="bf16")
    save_generator(tmp_path, halved, prepared_digest="")
    other = dataclasses.replace(drawer, generator=load_generator(tmp_path), folder=tmp_path)
    ours, theirs, _ = race(drawer, other, requests[:2], 3)
    assert 0.4 < theirs.num_bytes / ours.num_bytes < 0.65
    assert theirs.num_parameters == ours.num_parameters
