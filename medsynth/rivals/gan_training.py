"""Training of the GAN: alternating steps until the time is over, an average of the generator.

Each generated scan is judged beside a real one of the same attributes, and squared gradients at
both are lazily penalized (R1 and R2: Huang et al., "The GAN is dead; long live the GAN! A Modern
GAN Baseline", 2024, equations 2 and 3; lazily: Karras et al., "Analyzing and Improving the Image
Quality of StyleGAN", 2020, section 3.1). In minutes that alone leaves the noise with hardly a
say, so generated scans that differ less than real ones are penalized (after Mao et al., "Mode
Seeking Generative Adversarial Networks for Diverse Image Synthesis", 2019). Real and generated
scans are augmented alike (Zhao et al., "Differentiable Augmentation for Data-Efficient GAN
Training", 2020). No validation: a GAN has no loss that tells when to stop.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medsynth.checkpoint import best_device
from medsynth.models.conditioning import AttributeBatch, ConditionEncoder, encode_attributes
from medsynth.models.ema import Ema
from medsynth.rivals.config import RivalsConfig
from medsynth.rivals.contestant import Effort, Entry, Ground, Rival
from medsynth.rivals.gan import Discriminator, GanShape, Generator, gan_multiple
from medsynth.rivals.pace import clock
from medsynth.train.autoencoder import augment
from medsynth.train.config import TrainConfig
from medsynth.train.order import batch_rows, step_seed
from medsynth.train.recipe import computes_bf16, spare_small_volumes
from medsynth.train.report import OnStep, StepReport

_BLOCK = 4
"""Voxels of a side in which differences are averaged: finer ones are too easily made up."""


class ConditionedGenerator(nn.Module):
    """Condition encoder and generator, trained as one."""

    def __init__(self, encoder: ConditionEncoder, generator: Generator) -> None:
        super().__init__()
        self.encoder, self.generator = encoder, generator

    def forward(self, noise: Tensor, asked: AttributeBatch) -> Tensor:
        """Images in [-1, 1]."""
        images: Tensor = self.generator(noise, self.encoder(asked))
        return images


class ConditionedDiscriminator(nn.Module):
    """Condition encoder and discriminator, trained as one."""

    def __init__(self, encoder: ConditionEncoder, discriminator: Discriminator) -> None:
        super().__init__()
        self.encoder, self.discriminator = encoder, discriminator

    def forward(self, images: Tensor, asked: AttributeBatch) -> Tensor:
        """Logits per patch."""
        logits: Tensor = self.discriminator(images, self.encoder(asked))
        return logits


def train_gan(
    ground: Ground, config: RivalsConfig, train: TrainConfig, seed: int, on_step: OnStep
) -> Entry:
    """A GAN of so many minutes."""
    began = clock()
    with torch.random.fork_rng():
        torch.manual_seed(step_seed(seed, "gan", "weights"))
        match = _Match(*_networks(ground, config), ground, config, train, seed)
        while clock() - began < 60 * config.minutes or match.step < 2:
            losses = match.play()
            if match.step % train.report_every == 0:
                metrics = {name: float(loss) for name, loss in losses.items()}
                total = round(match.step * 60 * config.minutes / (clock() - began))
                on_step(StepReport("gan", match.step, total, metrics, clock() - began))
    network = match.average.network
    assert isinstance(network, ConditionedGenerator)
    size = sum(p.numel() for p in network.parameters())
    effort = Effort(size, match.step, match.step * config.gan.batch, clock() - began, 1.0)
    return Entry(Rival(ground, config.gan.noise_dim, network), effort)


def _networks(
    ground: Ground, config: RivalsConfig
) -> tuple[ConditionedGenerator, ConditionedDiscriminator]:
    encoders = [ConditionEncoder(ground.schema, ground.trained, config.token_dim) for _ in range(2)]
    gan = config.gan
    shape = GanShape(
        ground.frame.padded_shape,
        encoders[0].num_tokens * config.token_dim,
        gan.widths,
        gan.noise_dim,
        gan.style_dim,
        gan.discriminator_widths,
    )
    device = best_device()
    return (
        ConditionedGenerator(encoders[0], Generator(shape)).to(device),
        ConditionedDiscriminator(encoders[1], Discriminator(shape)).to(device),
    )


class _Match:
    """Both players, whose steps alternate."""

    def __init__(
        self,
        generator: ConditionedGenerator,
        discriminator: ConditionedDiscriminator,
        ground: Ground,
        config: RivalsConfig,
        train: TrainConfig,
        seed: int,
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.config, self.train, self.seed, self.step = config.gan, train, seed, 0
        self.device = next(generator.parameters()).device
        factor = gan_multiple(config.gan.widths)
        recipe = spare_small_volumes(train.recipe("gan", seed), ground.frame.padded_shape, factor)
        self.use_bf16 = computes_bf16(recipe.precision, self.device)
        fold = ground.fold
        keep = np.flatnonzero(~fold.is_validation)
        self.images = ground.frame.to_tensor(fold.volumes[keep])
        attributes = [fold.attributes[row] for row in keep]
        self.asked = encode_attributes(ground.schema, ground.trained, attributes)
        self.average = Ema(generator, min(train.ema_lengths))
        self.optimizers = [
            torch.optim.Adam(player.parameters(), self.config.learning_rate, betas=(0.0, 0.99))
            for player in (generator, discriminator)
        ]

    def play(self) -> dict[str, Tensor]:
        """One step of each player; their losses."""
        torch.manual_seed(step_seed(self.seed, "gan", self.step))
        rows = batch_rows(len(self.images), self.config.batch, self.seed, self.step)
        asked = self.asked.take(rows).to(self.device)
        scans = self.images[rows].to(self.device)
        noise = torch.randn(len(rows), self.config.noise_dim).to(self.device)
        with self._autocast():
            drawn = self.generator(noise, asked)
        real, fake = self._augmented(scans), self._augmented(drawn)
        judged = self._judge(real, fake.detach(), asked)
        fooled = self._fool(real, fake, asked, self.config.spread_weight * sameness(drawn, scans))
        self.step += 1
        self.average.update(self.generator, self.step)
        return {"discriminator": judged, "generator": fooled}

    def _judge(self, real: Tensor, fake: Tensor, asked: AttributeBatch) -> Tensor:
        is_penalized = self.step % self.config.penalty_every == 0
        both = [images.detach().requires_grad_(is_penalized) for images in (real, fake)]
        with self._autocast(enabled=not is_penalized):
            scores = [self.discriminator(images, asked).float() for images in both]
        loss = whole = doubt(*scores)
        if is_penalized:
            slopes = torch.stack([*map(squared_gradient, scores, both)])
            whole = loss + self.config.penalty * self.config.penalty_every / 2 * slopes.sum()
        self._move(1, whole)
        return loss.detach()

    def _fool(self, real: Tensor, fake: Tensor, asked: AttributeBatch, penalty: Tensor) -> Tensor:
        self.discriminator.requires_grad_(False)
        with self._autocast():
            scores = [self.discriminator(images, asked).float() for images in (fake, real)]
        loss = doubt(*scores)
        self._move(0, loss + penalty)
        self.discriminator.requires_grad_(True)
        return loss.detach()

    def _autocast(self, *, enabled: bool = True) -> torch.autocast:
        """bf16 where our own training takes it, but for second derivatives."""
        enabled = enabled and self.use_bf16
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _move(self, player: int, loss: Tensor) -> None:
        optimizer = self.optimizers[player]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def _augmented(self, images: Tensor) -> Tensor:
        """Each its own shift."""
        ours = self.train.largest_shift, self.train.largest_gain
        return torch.cat([augment(image, *ours) for image in torch.split(images, 1)])


def doubt(above: Tensor, below: Tensor) -> Tensor:
    """Mean loss of scores (n,) that should lie above their partners'."""
    return functional.softplus(below - above).mean()


def sameness(fake: Tensor, real: Tensor) -> Tensor:
    """Which share of the differences among real scans is missing among generated ones.

    Both have the same attributes, row by row, so that noise has to make up for what is missing.
    """
    found, wanted = (_differences(images) for images in (fake, real))
    return functional.relu(wanted - found).mean() / wanted.mean().clamp_min(1e-6)


def _differences(images: Tensor) -> Tensor:
    """Mean absolute difference of each image from the next one, in blocks of voxels."""
    pool = functional.avg_pool2d if images.ndim == 4 else functional.avg_pool3d
    coarse = pool(images, [min(_BLOCK, side) for side in images.shape[2:]])
    return (coarse - coarse.roll(1, 0)).abs().flatten(1).mean(1)


def squared_gradient(scores: Tensor, images: Tensor) -> Tensor:
    """Mean over the images of the squared norm of their score's gradient."""
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
