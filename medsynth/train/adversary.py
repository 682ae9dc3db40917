"""The autoencoder's opponent while it is trained: a critic with an optimizer of its own.

It takes its step inside the autoencoder's, on the same scans, and its weights and its optimizer's
memory are saved with the rest (`Task.companions`), so that a killed training goes on bit for bit.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medsynth.models.critic import Critic
from medsynth.train.ranks import average_gradients
from medsynth.train.recipe import Recipe, learning_rate
from medsynth.train.state import Learner

RATE = 0.2
"""The critic's learning rate, as a share of the autoencoder's."""


@dataclass(frozen=True, eq=False)
class Adversary:
    """A critic that learns from step `begins` on under an autoencoder's recipe."""

    critic: Critic
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    begins: int

    @classmethod
    def of(
        cls, sides: tuple[int, ...], recipe: Recipe, share: float, device: torch.device
    ) -> "Adversary":
        """An untaught one for images with these sides, that waits for this share of the steps."""
        critic = Critic(len(sides), num_levels=1 if min(sides) < 16 else 2).to(device)
        optimizer = torch.optim.AdamW(
            critic.parameters(), weight_decay=0.0, betas=(0.5, 0.9), fused=True
        )
        return cls(critic, optimizer, recipe, math.ceil(share * recipe.num_steps))

    @property
    def learner(self) -> Learner:
        """What a training state saves of it."""
        return Learner(self.critic, self.optimizer)

    def has_begun(self, step: int) -> bool:
        """Whether the warm-up, in which the autoencoder learns alone, is over."""
        return step >= self.begins

    def learn(
        self,
        scans: Float[Tensor, "n 1 *space"],
        reconstructions: Float[Tensor, "n 1 *space"],
        step: int,
    ) -> Float[Tensor, ""]:
        """Take a step; returns the critic's loss before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * learning_rate(self.recipe, step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.critic.loss(scans, reconstructions)
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(self.critic.parameters())
        nn.utils.clip_grad_norm_(self.critic.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        return loss.detach()
