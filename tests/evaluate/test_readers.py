import numpy as np
import pytest

from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.evaluate.agreement import Reading, agreement_metrics
from medsynth.evaluate.readers import ReaderConfig, train_readers
from medsynth.evaluate.targets import fit_targets


def _metrics(readers, fold, rng, *, shuffled=False):
    outputs = readers.read(fold.images)
    found = {}
    for target in readers.targets:
        truth = target.encode([scan.attributes[target.name] for scan in fold.scans])
        subjects = [scan.subject_id for scan in fold.scans]
        real = Reading.of_known(truth, outputs[target.name], subjects)
        asked = truth[rng.permutation(len(truth))] if shuffled else truth
        read = Reading.of_known(asked, outputs[target.name], subjects)
        found |= agreement_metrics(target, read, real, rng, num_draws=60)
    return found


def test_readers_read_attributes_back_although_a_third_of_the_ages_is_missing(
    trained, control_phantoms, as_fold, rng
):
    metrics = _metrics(trained, as_fold(control_phantoms, "c"), rng)
    assert metrics["age_r"].low > 0.7
    assert metrics["sex_auc"].low > 0.8
    assert metrics["lesion_auc"].low > 0.6
    assert metrics["age_mae"].value < 12  # years
    assert metrics["agreement_age"].value == pytest.approx(1.0)


def test_shuffled_attributes_fall_to_chance(trained, control_phantoms, as_fold, rng):
    metrics = _metrics(trained, as_fold(control_phantoms, "c"), rng, shuffled=True)
    for name in ("agreement_age", "agreement_sex", "agreement_lesion"):
        assert abs(metrics[name].value) < 0.35


def test_an_attribute_that_cannot_be_read_gets_no_agreement(
    trained, control_phantoms, as_fold, rng
):
    fold = as_fold(control_phantoms, "c")
    target = trained.targets[1]
    truth = target.encode([scan.attributes[target.name] for scan in fold.scans])
    noise = rng.standard_normal(truth.shape)
    subjects = [scan.subject_id for scan in fold.scans]
    reading = Reading.of_known(truth, noise, subjects)
    metrics = agreement_metrics(target, reading, reading, rng, num_draws=60)
    assert metrics["agreement_sex"].value is None


def test_the_same_seed_trains_the_same_readers(train_phantoms, as_fold, schema):
    fold = as_fold(train_phantoms, "t")
    config = ReaderConfig(num_steps=4, num_checks=2)
    first, second, third = (
        train_readers(
            fold.images, fold.scans, schema, config, seed=seed, on_step=lambda step: None
        ).features(fold.images[:5])
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, third)


def test_readers_read_volumes_with_labels_log_scales_and_unknown_values(as_fold, train_phantoms):
    schema = AttributeSchema(
        (
            Attribute("volume", "continuous", "ml", 0.0, 1000.0, scale="log"),
            Attribute("finding", "labels", values=("a", "b")),
            Attribute("stage", "ordinal", values=("i", "ii", "iii")),
        )
    )
    fold = as_fold(train_phantoms, "t")
    rows = [
        {
            "volume": float(i),
            "finding": ["a", "b", "a|b"][i % 3],
            "stage": ["i", "ii", "iii"][i % 3],
        }
        for i in range(60)
    ]
    scans = [
        type(scan)(**(vars(scan) | {"attributes": row}))
        for scan, row in zip(fold.scans[:60], rows, strict=True)
    ]
    volumes = np.repeat(fold.images[:60, :8, :9], 7, axis=3)
    readers = train_readers(
        volumes, scans, schema, ReaderConfig(num_steps=2), seed=0, on_step=lambda step: None
    )
    outputs = readers.read(volumes[:4])
    decoded = {target.name: target.decode(outputs[target.name]) for target in readers.targets}
    assert schema.parse({name: values[0] for name, values in decoded.items()})
    assert readers.read(volumes[:0])["stage"].shape == (0, 3)


def test_missing_and_unheard_of_values_are_nan_and_known_ones_come_back(schema):
    rows = [{"age": 20.0 + i, "sex": "FM"[i % 2], "lesion": None} for i in range(40)]
    targets = fit_targets(schema, rows, min_known=20)
    assert [target.name for target in targets] == ["age", "sex"]
    age, sex = targets
    assert age.decode(age.encode([31.0]))[0] == pytest.approx(31)
    assert sex.decode(sex.encode(["M", "F"])) == ["M", "F"]
    assert np.isnan(sex.encode([None, "X"])).all()
    assert np.isnan(age.encode([None])).all()


def test_telling_words_of_a_text_are_read_like_labels():
    story = Attribute("story", "text")
    rows = [{"story": f"seen lesion {['left', 'right'][i % 2]} _"} for i in range(40)]
    [target] = fit_targets(AttributeSchema((story,)), rows, min_known=20)
    assert target.values == ("left", "right")
    assert target.encode(["Left of something", None])[0].tolist() == [1, 0]
    assert target.decode(np.array([[2.0, -2.0], [3.0, 3.0]])) == ["left", "left right"]
    assert fit_targets(AttributeSchema((story,)), [{"story": "all same"}] * 40, min_known=20) == ()
