"""Training of the GAN: alternating steps until the time is over, an average of the generator.

Non-saturating loss with a lazy R1 penalty (Mescheder et al., "Which Training Methods for GANs do
actually Converge?", 2018; Karras et al., 2020), real and generated scans augmented alike (Zhao et
al., "Differentiable Augmentation for Data-Efficient GAN Training", 2020). No validation: a GAN
has no loss that tells when to stop.
"""

import numpy as np
import torch
from monai.losses.adversarial_loss import PatchAdversarialLoss
from torch import Tensor, nn

from medsynth.checkpoint import best_device
from medsynth.models.conditioning import AttributeBatch, ConditionEncoder, encode_attributes
from medsynth.models.ema import Ema
from medsynth.rivals.config import RivalsConfig
from medsynth.rivals.contestant import Effort, Entry, Ground, Rival
from medsynth.rivals.gan import Discriminator, GanShape, Generator
from medsynth.rivals.pace import clock
from medsynth.train.autoencoder import augment
from medsynth.train.config import TrainConfig
from medsynth.train.order import batch_rows, step_seed
from medsynth.train.recipe import computes_bf16
from medsynth.train.report import OnStep, StepReport

_adversarial = PatchAdversarialLoss(criterion="bce")


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
        gan.discriminator_width,
        gan.discriminator_layers,
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
        fold = ground.fold
        keep = np.flatnonzero(~fold.is_validation)
        self.images = ground.frame.to_tensor(fold.volumes[keep])
        attributes = [fold.attributes[row] for row in keep]
        self.asked = encode_attributes(ground.schema, ground.trained, attributes)
        self.average = Ema(generator, train.ema_lengths[-1])
        self.optimizers = [
            torch.optim.Adam(player.parameters(), self.config.learning_rate, betas=(0.0, 0.99))
            for player in (generator, discriminator)
        ]

    def play(self) -> dict[str, Tensor]:
        """One step of each player; their losses."""
        torch.manual_seed(step_seed(self.seed, "gan", self.step))
        rows = batch_rows(len(self.images), self.config.batch, self.seed, self.step)
        asked = self.asked.take(rows).to(self.device)
        real = self._augmented(self.images[rows].to(self.device))
        noise = torch.randn(len(rows), self.config.noise_dim).to(self.device)
        with self._autocast():
            fake = self._augmented(self.generator(noise, asked))
        judged = self._judge(real, fake.detach(), asked)
        fooled = self._fool(fake, asked)
        self.step += 1
        self.average.update(self.generator, self.step)
        return {"discriminator": judged, "generator": fooled}

    def _judge(self, real: Tensor, fake: Tensor, asked: AttributeBatch) -> Tensor:
        is_penalized = self.step % self.config.penalty_every == 0
        real.requires_grad_(is_penalized)
        with self._autocast(enabled=not is_penalized):
            on_real, on_fake = (self.discriminator(x, asked).float() for x in (real, fake))
        loss: Tensor = _adversarial(on_real, True, True) + _adversarial(on_fake, False, True)
        whole = loss
        if is_penalized:
            weight = self.config.penalty * self.config.penalty_every / 2
            whole = loss + weight * squared_gradient(on_real, real)
        self._move(1, whole)
        return loss.detach()

    def _fool(self, fake: Tensor, asked: AttributeBatch) -> Tensor:
        self.discriminator.requires_grad_(False)
        with self._autocast():
            logits = self.discriminator(fake, asked).float()
        loss: Tensor = _adversarial(logits, True, False)
        self._move(0, loss)
        self.discriminator.requires_grad_(True)
        return loss.detach()

    def _autocast(self, *, enabled: bool = True) -> torch.autocast:
        """bf16 where our own training takes it, but for second derivatives."""
        enabled = enabled and computes_bf16(self.train.precision, self.device)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _move(self, player: int, loss: Tensor) -> None:
        optimizer = self.optimizers[player]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def _augmented(self, images: Tensor) -> Tensor:
        return augment(images, self.train.largest_shift, self.train.largest_gain)


def squared_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """Mean over the images of the squared norm of the logits' gradient: R1."""
    mean = logits.flatten(1).mean(1).sum()
    (gradient,) = torch.autograd.grad(mean, images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
