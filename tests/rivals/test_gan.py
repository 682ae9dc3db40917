import numpy as np
import pytest
import torch

from medsynth.core.schema import AttributeSchema
from medsynth.rivals.gan import Discriminator, GanShape, Generator
from medsynth.rivals.gan_training import squared_gradient, train_gan
from medsynth.train.report import unheard


def shape(*sides):
    return GanShape(sides, 6, (16, 8), 4, 8, 8, 2)


@pytest.mark.parametrize("sides", [(12, 8), (4, 8, 12)])
def test_images_have_the_asked_sides_and_every_patch_a_logit(sides):
    generator, discriminator = Generator(shape(*sides)), Discriminator(shape(*sides))
    condition = torch.randn(3, 2, 3)
    images = generator(torch.randn(3, 4), condition)
    assert images.shape == (3, 1, *sides)
    assert images.abs().max() <= 1
    assert discriminator(images, condition).shape[:2] == (3, 1)


def test_both_players_see_the_attributes():
    torch.manual_seed(0)
    generator, discriminator = Generator(shape(8, 8)), Discriminator(shape(8, 8))
    one, other, noise = torch.zeros(2, 2, 3), torch.ones(2, 2, 3), torch.randn(2, 4)
    images = generator(noise, one)
    assert not torch.allclose(images, generator(noise, other), atol=1e-4)
    assert not torch.allclose(discriminator(images, one), discriminator(images, other))


def test_scans_all_alike_are_seen_through():
    torch.manual_seed(0)
    discriminator, condition = Discriminator(shape(8, 8)), torch.zeros(4, 2, 3)
    differing = torch.rand(4, 1, 8, 8)
    alike = differing[:1].expand(4, 1, 8, 8)
    logits = discriminator(differing, condition)[0]
    assert not torch.allclose(logits, discriminator(alike, condition)[0], atol=1e-4)


def test_the_penalty_of_a_linear_judge_is_its_squared_weight():
    images = torch.randn(5, 1, 3, 4, requires_grad=True)
    weight = torch.randn(3, 4)
    logits = (images * weight).sum((1, 2, 3)).view(5, 1, 1, 1)
    torch.testing.assert_close(squared_gradient(logits, images), weight.square().sum())


def test_it_learns_brightness_from_age(make_ground, tiny, settings, a_second_a_look):
    ground = make_ground()
    entry = train_gan(ground, tiny.model_copy(update={"minutes": 6.0}), settings, 0, unheard)
    ages = np.linspace(22.0, 41.0, 20)
    drawn = entry.contestant.draw([{"age": float(age)} for age in ages], range(20), 0)
    assert np.corrcoef(ages, drawn.mean((1, 2, 3)))[0, 1] > 0.8
    assert entry.effort.passes == 1
    assert entry.effort.scans_seen == entry.effort.steps * tiny.gan.batch


def test_it_learns_without_attributes_and_in_3d(make_ground, tiny, settings, a_second_a_look):
    ground = make_ground((6, 5, 9), AttributeSchema())
    entry = train_gan(ground, tiny.model_copy(update={"minutes": 0.1}), settings, 0, unheard)
    assert entry.contestant.draw([{}], [3], 0).shape == (1, 6, 5, 9)


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
