import numpy as np
import pytest

from medsynth.checkpoint import load_generator, save_generator
from medsynth.core.manifest import Manifest, load_arrays
from medsynth.core.stage import Request, produce
from medsynth.core.views import STEPS, Views
from medsynth.models.cells import holds
from medsynth.models.guidance import Guidance
from medsynth.models.synthesizer import SamplerConfig
from medsynth.sample.plan import Plan
from medsynth.sample.views import ViewsConfig, draw_views

PLAN = Plan(count=40, seed=5, num_steps=2, guidance=2.0)
CONFIG = ViewsConfig(num_columns=3, num_traces=2, num_states=3)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    """Four scans at once: most calls here need no more."""
    monkeypatch.setattr("medsynth.checkpoint.BATCH_VOXELS", 4 * 12 * 10)


@pytest.fixture
def drawn(checkpoint, tmp_path):
    artifact = draw_views(checkpoint, tmp_path, PLAN, CONFIG)
    scans = {scan.scan_id: scan for scan in Manifest.read(artifact.path)}
    return artifact, Views.read(artifact.path).sets, scans


def _voxels(artifact, scans, group):
    return load_arrays(artifact.path, [scans[name] for name in group])


def test_only_the_swept_attribute_changes_in_a_column(drawn):
    _, sets, scans = drawn
    assert {name: len(groups) for name, groups in sets.items()} == {"age": 3, "sex": 3, STEPS: 2}
    for name, other in (("age", "sex"), ("sex", "age")):
        for group in sets[name]:
            asked = [scans[scan].attributes for scan in group]
            assert len({row[name] for row in asked}) == len(group) >= 2
            assert len({row[other] for row in asked}) == 1
        first = [[scans[scan].attributes[name] for scan in group] for group in sets[name]]
        assert all(column == first[0] for column in first)


def test_numbers_go_from_low_to_high_and_rare_words_are_not_asked(drawn):
    _, sets, scans = drawn
    ages = [scans[scan].attributes["age"] for scan in sets["age"][0]]
    assert ages == sorted(ages)
    assert 40 <= ages[0] < 50 < 70 < ages[-1] <= 79
    assert {scans[scan].attributes["sex"] for scan in sets["sex"][0]} == {"F", "M"}


def test_a_column_shares_its_noise(checkpoint, drawn):
    artifact, sets, scans = drawn
    generator, how = load_generator(checkpoint.path), SamplerConfig(2, guidance=Guidance(2.0))
    group = sets["age"][0]
    requests = [scans[scan].attributes for scan in group]
    seen = _voxels(artifact, scans, group)
    same = [
        np.array_equal(generator.draw(requests, [i] * len(group), seed=5, how=how), seen)
        for i in range(4)
    ]
    assert sum(same) == 1


def _deaf_to_sex(checkpoint, out):
    """The same generator, whose condition says the same of every sex."""
    generator = load_generator(checkpoint.path)
    generator.synthesizer.encoder.readers[1].weight.zero_()
    return produce(
        out,
        Request("checkpoint", {}, {"deaf": True}, "test"),
        lambda folder: save_generator(folder, generator, prepared_digest="0" * 64),
    )


def test_an_attribute_that_the_generator_does_not_hear_changes_nothing(checkpoint, tmp_path):
    artifact = draw_views(_deaf_to_sex(checkpoint, tmp_path / "deaf"), tmp_path, PLAN, CONFIG)
    scans = {scan.scan_id: scan for scan in Manifest.read(artifact.path)}
    sets = Views.read(artifact.path).sets
    columns = {name: [_voxels(artifact, scans, group) for group in sets[name]] for name in sets}
    assert all(np.array_equal(column[0], column[-1]) for column in columns["sex"])
    assert not any(np.array_equal(column[0], column[-1]) for column in columns["age"])
    assert not np.array_equal(columns["sex"][0][0], columns["sex"][1][0])


def test_every_request_lies_in_cells_with_enough_subjects(drawn, checkpoint):
    _, sets, scans = drawn
    blocks = load_generator(checkpoint.path).cells.blocks
    crowded = [[cell for cell in block if cell.count >= 11] for block in blocks]
    for name in (name for groups in sets.values() for group in groups for name in group):
        asked = scans[name].attributes
        for cells in crowded:
            assert any(all(holds(w, asked[n]) for n, w in cell.bins.items()) for cell in cells)


def test_a_trace_ends_in_the_scan_of_its_index(checkpoint, drawn):
    artifact, sets, scans = drawn
    generator, how = load_generator(checkpoint.path), SamplerConfig(2, guidance=Guidance(2.0))
    last = sets[STEPS][1][-1]
    drawn_alone = generator.draw([scans[last].attributes], [1], seed=5, how=how)
    assert np.array_equal(load_arrays(artifact.path, [scans[last]]), drawn_alone)


def test_the_same_views_are_found_whatever_the_cohort_asks_for(checkpoint, drawn, tmp_path):
    other = PLAN.model_copy(update={"count": 7, "where": "sex=F"})
    again = draw_views(checkpoint, tmp_path, other, CONFIG)
    assert again.reused
    assert again.digest == drawn[0].digest


def test_nothing_is_drawn_where_nothing_is_asked_for(checkpoint, tmp_path):
    nothing = ViewsConfig(num_columns=0, num_traces=0)
    artifact = draw_views(checkpoint, tmp_path, PLAN, nothing)
    assert len(Manifest.read(artifact.path)) == 0
    assert Views.read(artifact.path).sets == {}
