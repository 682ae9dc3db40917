"""A killed sampling goes on, and its cohort is the one of a sampling that was left alone."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest

from medsynth.core.geometry import Geometry
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.frame import Frame
from medsynth.models.memory import FIXED_BYTES, SHARE, bytes_per_latent
from medsynth.sample import drawing
from medsynth.sample.cohort import sample
from medsynth.sample.drawing import how_drawn
from medsynth.sample.plan import Plan

PLAN = Plan(count=200, seed=4, num_steps=2)
BATCH = 32
SCRIPT = """
import sys
from pathlib import Path
from medsynth.core.stage import open_stage
from medsynth.sample.cohort import sample
from medsynth.sample.drawing import how_drawn
from medsynth.sample.plan import Plan

checkpoint, out, plan = sys.argv[1:]
sample(
    open_stage(Path(checkpoint)), Path(out), Plan.model_validate_json(plan),
    progress=lambda done, total: print(done, flush=True) or sys.stdin.readline(),
)
"""


class Stopped(Exception):
    pass


def stop_at(count):
    def progress(done, total):
        if done >= count:
            raise Stopped

    return progress


@pytest.fixture
def drawn(monkeypatch):
    """The indices that are drawn from now on, micro-batch by micro-batch."""
    found, real = [], drawing.draw
    monkeypatch.setattr(drawing, "draw", lambda *given: found.append([*given[3]]) or real(*given))
    return found


def test_a_sampling_killed_in_the_middle_goes_on_bit_for_bit(tmp_path, checkpoint, drawn):
    out = tmp_path / "killed"
    command = [sys.executable, "-c", SCRIPT, checkpoint.path, out, PLAN.model_dump_json()]
    with subprocess.Popen(
        [*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        for count in (0, BATCH, 2 * BATCH):
            assert process.stdout.readline() == f"{count}\n"
            process.stdin.write("\n" * (count < 2 * BATCH))
            process.stdin.flush()
        process.kill()
    assert not (out / "cohort").exists()
    again = sample(checkpoint, out, PLAN)
    assert [indices[0] for indices in drawn] == [64, 96, 128, 160, 192]
    assert again.digest == sample(checkpoint, tmp_path / "whole", PLAN).digest


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "unfinished line"])
def test_what_is_not_whole_is_drawn_again(tmp_path, checkpoint, drawn, damage):
    with pytest.raises(Stopped):
        sample(checkpoint, tmp_path, PLAN, progress=stop_at(4 * BATCH))
    (partial,) = (tmp_path / ".partial").glob("cohort-*")
    volume, journal = partial / "volumes" / "syn-000070.nii", partial / drawing.JOURNAL
    content = volume.read_bytes()
    if damage == "changed":
        volume.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        volume.write_bytes(content[:100])
    elif damage == "gone":
        volume.unlink()
    else:
        journal.write_text(journal.read_text()[:-30])
    del drawn[:]
    again = sample(checkpoint, tmp_path, PLAN)
    first = 96 if damage == "unfinished line" else 64
    assert [indices[0] for indices in drawn] == [first, 128, 160, 192]
    assert not (again.path / drawing.JOURNAL).exists()
    assert again.digest == sample(checkpoint, tmp_path / "whole", PLAN).digest


def test_another_plan_takes_nothing_over(tmp_path, checkpoint, drawn):
    with pytest.raises(Stopped):
        sample(checkpoint, tmp_path, PLAN, progress=stop_at(4 * BATCH))
    del drawn[:]
    sample(checkpoint, tmp_path, PLAN.model_copy(update={"seed": 5}))
    assert sum(map(len, drawn)) == 200


SCHEMA = AttributeSchema((Attribute("age", "continuous"),))


def test_the_tiles_that_volumes_are_decoded_in_are_told_and_follow_the_memory(random_generator):
    """A strip, and room for it twice or for about a third of it."""
    generator = random_generator(SCHEMA, [{"age": 40.0 + n % 30} for n in range(60)])
    ours, shape = generator.synthesizer, (16, 3200, 1)
    strip = replace(
        generator,
        synthesizer=replace(ours, frame=Frame(shape, 8)),
        geometry=Geometry(shape, generator.geometry.affine),
    )
    sides = strip.synthesizer.latent_shape[1:]
    whole = strip.batch * math.prod(sides) * bytes_per_latent(ours.autoencoder.config)
    told = [
        how_drawn(strip.planned_with(int((FIXED_BYTES + share * whole) / SHARE)), PLAN)["tiles"]
        for share in (2.0, 0.34)
    ]
    assert told[0] is None
    assert told[1][0] == sides[0]
    assert told[1][1] < sides[1] / 2
