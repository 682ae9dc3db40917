"""What the detector learns from, and that it learned."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from privacy.planted import plant
from privacy.screen.confirm import Layers
from privacy.screen.detector import CHANNELS, Committee, num_lessons
from privacy.screen.disguises import disguise
from privacy.screen.frames import to_views
from privacy.screen.gallery import Gallery
from privacy.screen.measures import MEASURES


def untold(count):
    pass


def area(scores, is_copy):
    """Area under the ROC curve."""
    ranks, num = rankdata(scores), is_copy.sum()
    return (ranks[is_copy].sum() - num * (num + 1) / 2) / (num * (~is_copy).sum())


@pytest.fixture(scope="module")
def views(folds):
    return to_views(folds.train.volumes[:80])[:, 0]


def test_disguises_come_from_the_seed_and_stay_within_the_window(views):
    first = disguise(views, 3)
    assert torch.equal(first.views, disguise(views, 3).views)
    assert not torch.equal(first.views, disguise(views, 4).views)
    assert (first.views.min(), first.views.max()) >= (0, 0)
    assert first.views.max() <= 1
    assert first.views.shape == views.shape


def test_a_disguise_that_shows_both_holds_a_part_of_each(views):
    white, black = torch.ones_like(views), torch.zeros_like(views)
    drawn = disguise(torch.where(torch.arange(len(views))[:, None, None] % 2 == 0, white, black), 0)
    even = torch.arange(len(views)) % 2 == 0
    unlike = drawn.shows_both & (even != even[drawn.others])
    alone = ~drawn.shows_both & ~drawn.is_mixed & ~even
    assert unlike.sum() > 3
    spread = drawn.views.flatten(1).std(1)
    assert spread[unlike].min() > 0.2  # one part white, the other black
    assert spread[alone].max() < 0.2  # black with noise, or white with noise
    assert 0.1 < drawn.shows_both.float().mean() < 0.4


def test_measures_of_a_scan_and_itself_are_one_and_know_no_sign(folds):
    gallery = Gallery.fit(folds.train.volumes, folds.train.subjects)
    own = folds.train.volumes[:6]
    for queries in (own, 1 - own):
        found = gallery.match(queries, untold)
        is_own = found.subjects == folds.train.subjects[:6, None, None]
        assert is_own.any(2).all()
        same = found.measures[is_own]
        for name in ("fine whole", "broad whole", "fine patches, mean", "correlation"):
            assert same[:, MEASURES.index(name)].min() > 0.8, name


def test_a_part_shows_in_its_windows_though_not_in_the_whole(folds, phantoms):
    gallery = Gallery.fit(folds.train.volumes, folds.train.subjects)
    halves = plant("half", folds.train.volumes[:8], phantoms(8, seed=91), seed=1)
    found = gallery.match(halves, untold)
    is_own = found.subjects == folds.train.subjects[:8, None, None]
    own = found.measures[is_own]
    best, whole = "fine patches, best, unregistered", "fine whole, unregistered"
    assert np.median(own[:, MEASURES.index(best)]) > 0.9
    assert np.median(own[:, MEASURES.index(whole)]) < 0.9


def test_each_committee_tells_its_own_kind_of_copy_from_strangers(screen, folds, phantoms):
    train, others = folds.train, phantoms(20, seed=92)
    for channel, kind in ((0, "rotation_20"), (0, "noise_05"), (1, "half")):
        copies = plant(kind, train.volumes[:20], others, seed=2)
        found = screen.gallery.match(copies, untold)
        odds = screen.detector.channels(found)[..., channel]
        likeliest = found.subjects[np.arange(20), 0, odds[:, 0].argmax(1)]
        assert (likeliest == train.subjects[:20]).sum() >= 18, (CHANNELS[channel], kind)


def test_a_committee_that_learned_from_shuffled_answers_knows_nothing():
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((3000, 6)).astype(np.float32)
    truth = seen[:, 0] + 0.5 * seen[:, 1] > 1
    right = Committee.fit(seen[:2000], truth[:2000], 0)
    wrong = Committee.fit(seen[:2000], rng.permutation(truth[:2000]), 0)
    test = seen[None, 2000:]
    assert area(right.weigh(test)[0], truth[2000:]) > 0.98
    assert abs(area(wrong.weigh(test)[0], truth[2000:]) - 0.5) < 0.15


def test_nobody_is_taught_that_a_source_is_a_stranger(folds, monkeypatch):
    taught = []
    fit = Committee.fit
    monkeypatch.setattr(
        Committee,
        "fit",
        lambda seen, is_copy, seed: taught.append(is_copy) or fit(seen, is_copy, 0),
    )
    from privacy.screen.detector import Detector

    gallery = Gallery.fit(folds.train.volumes[:40], folds.train.subjects[:40])
    Detector.fit(gallery, to_views(folds.train.volumes[:40]), untold)
    whole, part = taught
    # Two rounds of 40, each source found by its whole view, by a part, or by both.
    assert 40 < whole.sum() + part.sum() / 2 <= 160
    assert part.sum() > 10
    strangers = (~whole).sum()
    assert strangers == (~part).sum()
    assert strangers < num_lessons(40) * 18


def test_an_emptied_gallery_gives_no_candidates(screen, folds):
    empty = replace(screen, gallery=screen.gallery.emptied())
    found = empty.gallery.match(folds.train.volumes[:2], untold)
    assert screen.detector.channels(found).shape == (2, 1, 0, len(CHANNELS))


def test_layers_know_their_own_rows(views):
    layers = Layers.of(views)
    assert torch.equal(layers[torch.tensor([3])].fine[0], layers.fine[3])
