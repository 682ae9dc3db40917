"""A generator that ignores what it is asked is found; one that obeys is not."""

import numpy as np
import pytest

from medsynth.core.schema import Attribute
from medsynth.evaluate.agreement import Reading, agreement_metrics
from medsynth.evaluate.metrics import Metric
from medsynth.evaluate.obedience import disobedience_words, obedience
from medsynth.evaluate.targets import Target


def judged(low, high, value=0.5, limit=0.5):
    metrics = {"agreement_sex": Metric(value, 1.0, low, high, 100)}
    metrics |= obedience(metrics, limit)
    return metrics["obeyed_sex"].value, disobedience_words(metrics)


@pytest.mark.parametrize(
    ("low", "high", "obeyed", "words"),
    [
        (0.8, 1.1, 1.0, None),
        (0.1, 0.6, 1.0, None),
        (0.2, 0.4, 0.0, "not obeyed as it should be"),
        (-0.2, 0.9, 0.0, "not obeyed, or not so that it shows"),
        (-0.9, -0.2, 0.0, "not obeyed"),
        (None, None, None, "not judged"),
    ],
)
def test_obeyed_is_surely_above_chance_and_maybe_at_the_limit(low, high, obeyed, words):
    value, said = judged(low, high, None if low is None else 0.5)
    assert value == obeyed
    assert [words in line and "sex" in line for line in said] == ([True] if words else [])


def shuffled_metrics(readers, fold, rng, ignored):
    """The control scans as a cohort, of a generator that never heard of one attribute."""
    outputs, found = readers.read(fold.images), {}
    subjects = [scan.subject_id for scan in fold.scans]
    for target in readers.targets:
        truth = target.encode([scan.attributes[target.name] for scan in fold.scans])
        asked = truth[rng.permutation(len(truth))] if target.name == ignored else truth
        real, read = (Reading.of_known(t, outputs[target.name], subjects) for t in (truth, asked))
        found |= agreement_metrics(target, read, real, rng, num_draws=60)
    return found | obedience(found, 0.5)


@pytest.mark.parametrize("ignored", ["age", "sex"])
def test_the_one_attribute_that_is_ignored_is_reported(
    trained, control_phantoms, as_fold, rng, ignored
):
    metrics = shuffled_metrics(trained, as_fold(control_phantoms, "c"), rng, ignored)
    assert metrics[f"obeyed_{ignored}"].value == 0
    assert [line.split(":")[0] for line in disobedience_words(metrics)] == [ignored]


def test_an_obedient_generator_is_not_reported(trained, control_phantoms, as_fold, rng):
    metrics = shuffled_metrics(trained, as_fold(control_phantoms, "c"), rng, None)
    assert disobedience_words(metrics) == []


def test_reading_the_neighboring_step_agrees_more_than_reading_the_far_end():
    target = Target(Attribute("grade", "ordinal", values=("a", "b", "c", "d")), tuple("abcd"))
    truth = np.repeat(np.eye(4), 10, axis=0)
    subjects = [f"s{i}" for i in range(40)]
    real = Reading.of_known(truth, 9 * truth, subjects)

    def agreement(read):
        outputs = 9 * np.eye(4)[np.repeat(read, 10)]
        reading = Reading.of_known(truth, outputs, subjects)
        rng = np.random.default_rng(0)
        return agreement_metrics(target, reading, real, rng, num_draws=20)["agreement_grade"].value

    assert agreement([0, 1, 2, 3]) == pytest.approx(1)
    assert agreement([1, 0, 3, 2]) > 0.5 > 0 > agreement([3, 2, 1, 0])
