import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from medsynth.core.schema import AttributeSchema
from medsynth.rivals import gan_training
from medsynth.rivals.config import GanConfig
from medsynth.rivals.gan import Discriminator, GanShape, Generator
from medsynth.rivals.gan_training import doubt, sameness, squared_gradient, train_gan
from medsynth.train.report import unheard


def shape(*sides):
    return GanShape(sides, 6, (16, 8), 4, 8, (8, 16))


@pytest.mark.parametrize("sides", [(12, 8), (4, 8, 12)])
def test_images_have_the_asked_sides_and_a_score_each(sides):
    generator, discriminator = Generator(shape(*sides)), Discriminator(shape(*sides))
    condition = torch.randn(3, 2, 3)
    images = generator(torch.randn(3, 4), condition)
    assert images.shape == (3, 1, *sides)
    assert images.abs().max() <= 1
    assert discriminator(images, condition).shape == (3,)


def test_a_discriminator_of_more_levels_is_refused():
    with pytest.raises(ValidationError, match="more levels than the generator, got 3 and 2"):
        GanConfig(widths=(16, 16), discriminator_widths=(16, 16, 16))


def test_both_players_see_the_attributes():
    torch.manual_seed(0)
    generator, discriminator = Generator(shape(8, 8)), Discriminator(shape(8, 8))
    one, other, noise = torch.zeros(2, 2, 3), torch.ones(2, 2, 3), torch.randn(2, 4)
    images = generator(noise, one)
    assert not torch.allclose(images, generator(noise, other), atol=1e-4)
    assert not torch.allclose(discriminator(images, one), discriminator(images, other))


@torch.no_grad()
def test_noise_decides_what_a_fresh_generator_draws():
    torch.manual_seed(0)
    generator = Generator(GanShape((32, 48), 24, (64, 32, 16), 16, 32, (8, 16)))
    condition = torch.randn(1, 3, 8).expand(64, 3, 8)
    images = generator(torch.randn(64, 16), condition)
    assert images.std(0).mean() > 0.5 * images.std()


def test_a_score_is_doubted_where_it_does_not_lie_above_its_partners():
    scores = torch.tensor([3.0, -1.0, 0.5])
    assert doubt(scores, scores).item() == pytest.approx(math.log(2))
    torch.testing.assert_close(doubt(scores + 2, scores), torch.tensor(math.log1p(math.exp(-2))))
    torch.testing.assert_close(doubt(scores, scores - 40), torch.tensor(0.0))
    torch.testing.assert_close(doubt(scores - 40, scores), torch.tensor(40.0))


@pytest.mark.parametrize("sides", [(12, 8), (2, 8, 12)])
def test_sameness_is_the_share_of_differences_that_is_missing(sides):
    real = torch.randn(6, 1, *sides, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sameness(real[:1].expand_as(real), real), torch.tensor(1.0))
    torch.testing.assert_close(sameness(0.25 * real + 3, real), torch.tensor(0.75))
    assert sameness(real, real) == sameness(2 * real, real) == 0
    assert sameness(real, real[:1].expand_as(real)) == 0


def test_the_penalty_of_a_linear_judge_is_its_squared_weight():
    images = torch.randn(5, 1, 3, 4, requires_grad=True)
    weight = torch.randn(3, 4)
    scores = (images * weight).sum((1, 2, 3))
    torch.testing.assert_close(squared_gradient(scores, images), weight.square().sum())


def test_it_learns_brightness_from_age(make_ground, tiny, settings, a_second_a_look):
    ground = make_ground()
    entry = train_gan(ground, tiny.model_copy(update={"minutes": 6.0}), settings, 0, unheard)
    ages = np.linspace(22.0, 41.0, 20)
    drawn = entry.contestant.draw([{"age": float(age)} for age in ages], range(20), 0)
    assert np.corrcoef(ages, drawn.mean((1, 2, 3)))[0, 1] > 0.8
    assert entry.effort.passes == 1
    assert entry.effort.scans_seen == entry.effort.steps * tiny.gan.batch


def test_noise_makes_up_for_what_no_attribute_tells(make_ground, tiny, settings, a_second_a_look):
    ground = make_ground(schema=AttributeSchema())
    entry = train_gan(ground, tiny.model_copy(update={"minutes": 6.0}), settings, 0, unheard)
    drawn = entry.contestant.draw([{}] * 64, range(64), 0)
    assert drawn.std(0).mean() > 0.5 * ground.fold.volumes.std(0).mean()


def test_it_learns_without_attributes_and_in_3d(make_ground, tiny, settings, a_second_a_look):
    ground = make_ground((6, 5, 9), AttributeSchema())
    entry = train_gan(ground, tiny.model_copy(update={"minutes": 0.1}), settings, 0, unheard)
    assert entry.contestant.draw([{}], [3], 0).shape == (1, 6, 5, 9)


@pytest.mark.parametrize(("sides", "precision"), [((6, 5, 9), "fp32"), ((9, 14, 1), "bf16")])
def test_small_volumes_are_learned_in_fp32(
    sides, precision, make_ground, tiny, settings, a_second_a_look, monkeypatch
):
    taken = []

    def note(wanted, device):
        taken.append(wanted)
        return False

    monkeypatch.setattr(gan_training, "computes_bf16", note)
    half = settings.model_copy(update={"precision": "bf16"})
    brief = tiny.model_copy(update={"minutes": 0.01})
    train_gan(make_ground(sides), brief, half, 0, unheard)
    assert taken == [precision]


def test_the_inner_validation_tenth_teaches_nothing(make_ground, tiny, settings, a_second_a_look):
    drawn = []
    for value in (0.0, 1.0):
        ground = make_ground()
        ground.fold.volumes[ground.fold.is_validation] = value
        brief = tiny.model_copy(update={"minutes": 0.2})
        entry = train_gan(ground, brief, settings, 0, unheard)
        drawn.append((entry.effort.steps, entry.contestant.draw([{}], [0], 0)))
    assert drawn[0][0] == drawn[1][0]
    assert np.array_equal(drawn[0][1], drawn[1][1])
