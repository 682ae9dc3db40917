"""Readers: one small network, trained on real scans only, reads the attributes off a scan.

A trunk of convolutions (2D or 3D) with a linear head per attribute. Attributes may be missing
anywhere: a missing value has no part in the loss. The step with the best loss on the inner
validation tenth of the training fold is kept.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from medsynth.core.manifest import Scan
from medsynth.core.schema import AttributeSchema
from medsynth.evaluate.targets import SEVERAL, Target, fit_targets
from medsynth.prepare.validation import inner_validation

Images = Float[np.ndarray, "n i j k"]


class ReaderConfig(BaseModel):
    """How the readers learn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_steps: int = 320
    """Optimizer steps."""
    batch_size: int = 32
    """Scans a step."""
    learning_rate: float = 2e-3
    """Peak of AdamW's one-cycle schedule."""
    widths: tuple[int, ...] = (24, 48, 96)
    """Channels after each halving of the image."""
    num_features: int = 64
    """Width of the layer that the heads read."""
    num_checks: int = 16
    """How often the validation loss is taken."""
    max_shift: int = 2
    """Largest shift of a training scan along each axis, voxels."""
    min_known: int = 20
    """Fewest known values in the training fold for an attribute to get a reader."""


class Network(nn.Module):
    """Trunk and heads; `features` is what the heads see."""

    def __init__(self, targets: Sequence[Target], config: ReaderConfig, *, is_3d: bool) -> None:
        super().__init__()
        conv: type[nn.Module] = nn.Conv3d if is_3d else nn.Conv2d
        layers: list[nn.Module] = []
        previous = 1
        for width in config.widths:
            layers += [conv(previous, width, 3, stride=2, padding=1), nn.GroupNorm(8, width)]
            layers += [nn.SiLU(), conv(width, width, 3, padding=1), nn.GroupNorm(8, width)]
            layers += [nn.SiLU()]
            previous = width
        self.trunk = nn.Sequential(*layers)
        self.neck = nn.Linear(2 * previous, config.num_features)
        self.heads = nn.ModuleDict(
            {t.name: nn.Linear(config.num_features, t.width) for t in targets}
        )

    def features(self, x: Tensor) -> Tensor:
        """Images (n, 1, i, j[, k]) to features (n, num_features)."""
        maps = self.trunk(x).flatten(2)
        # The mean sees texture, the maximum sees one small lesion.
        return F.silu(self.neck(torch.cat([maps.mean(2), maps.amax(2)], 1)))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs (n, width) of every head."""
        features = F.dropout(self.features(x), 0.2, self.training)
        return {name: head(features) for name, head in self.heads.items()}


@dataclass(frozen=True)
class Readers:
    """Trained readers: images to outputs, and to the features that they are read from."""

    targets: tuple[Target, ...]
    network: Network

    def read(self, images: Images) -> dict[str, Float[np.ndarray, "n width"]]:
        """The outputs of each attribute's head."""
        if not len(images):
            return {t.name: np.zeros((0, t.width), np.float32) for t in self.targets}
        parts = [self.network(batch) for batch in _batches(images)]
        return {t.name: torch.cat([p[t.name] for p in parts]).numpy() for t in self.targets}

    def features(self, images: Images) -> Float[np.ndarray, "n features"]:
        """What the heads see of each scan."""
        return torch.cat([self.network.features(b) for b in _batches(images)]).numpy()


def train_readers(
    images: Images,
    scans: Sequence[Scan],
    schema: AttributeSchema,
    config: ReaderConfig,
    *,
    seed: int,
    on_step: Callable[[int], None],
) -> Readers:
    """Readers of every attribute that the scans of the training fold can teach."""
    validation = inner_validation(scan.subject_id for scan in scans)
    is_inner = np.array([scan.subject_id in validation for scan in scans], bool)
    rows = [scan.attributes for scan, inner in zip(scans, is_inner, strict=True) if not inner]
    targets = fit_targets(schema, rows, min_known=config.min_known)
    truth = {
        target.name: torch.as_tensor(
            target.encode([scan.attributes.get(target.name) for scan in scans]),
            dtype=torch.float32,
        )
        for target in targets
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(targets, config, is_3d=images.shape[3] > 1)
        if targets:
            _fit(
                network,
                targets,
                to_tensor(images),
                truth,
                torch.as_tensor(is_inner),
                config,
                on_step,
            )
    return Readers(targets, network.eval().requires_grad_(False))


def _fit(
    network: Network,
    targets: Sequence[Target],
    images: Tensor,
    truth: Mapping[str, Tensor],
    is_inner: Tensor,
    config: ReaderConfig,
    on_step: Callable[[int], None],
) -> None:
    train, inner = torch.where(~is_inner)[0], torch.where(is_inner)[0]
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.num_steps
    )
    best, best_state = float("inf"), None
    interval = max(1, config.num_steps // config.num_checks)
    for step in range(1, config.num_steps + 1):
        chosen = train[torch.randint(len(train), (config.batch_size,))]
        loss = _loss(network(_augment(images[chosen], config.max_shift)), targets, truth, chosen)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % interval == 0 and len(inner):
            held_out = _held_out_loss(network, targets, images, truth, inner)
            if held_out <= best:
                best, best_state = held_out, {k: v.clone() for k, v in network.state_dict().items()}
        on_step(step)
    if best_state is not None:
        network.load_state_dict(best_state)


@torch.no_grad()
def _held_out_loss(
    network: Network,
    targets: Sequence[Target],
    images: Tensor,
    truth: Mapping[str, Tensor],
    inner: Tensor,
) -> float:
    network.eval()
    parts = [network(images[part]) for part in torch.split(inner, 64)]
    network.train()
    outputs = {target.name: torch.cat([part[target.name] for part in parts]) for target in targets}
    return float(_loss(outputs, targets, truth, inner))


def _loss(
    outputs: Mapping[str, Tensor],
    targets: Sequence[Target],
    truth: Mapping[str, Tensor],
    chosen: Tensor,
) -> Tensor:
    """Mean over attributes of the mean loss over the scans whose value is known."""
    losses = []
    for target in targets:
        wanted = truth[target.name][chosen]
        is_known = ~wanted.isnan().any(1)
        if is_known.any():
            losses.append(_target_loss(target, outputs[target.name][is_known], wanted[is_known]))
    # A batch may know nothing at all: then its gradient is zero.
    return torch.stack(losses or [o.sum() * 0 for o in outputs.values()]).mean()


def _target_loss(target: Target, output: Tensor, wanted: Tensor) -> Tensor:
    weights = torch.tensor(target.weights)
    if target.attribute.is_numeric:
        return F.smooth_l1_loss(output, wanted)
    if target.attribute.kind in SEVERAL:
        return F.binary_cross_entropy_with_logits(output, wanted, pos_weight=weights)
    return F.cross_entropy(output, wanted, weight=weights)


def _augment(x: Tensor, max_shift: int) -> Tensor:
    """A small shift, gain, offset and noise: what tells two scanners apart, not two people."""
    num_axes = x.ndim - 2
    shifts = torch.randint(-max_shift, max_shift + 1, (len(x), num_axes)).tolist()
    axes = tuple(range(1, x.ndim - 1))
    moved = [torch.roll(one, shift, axes) for one, shift in zip(x, shifts, strict=True)]
    shape = (len(x),) + (1,) * (x.ndim - 1)
    gain, offset = 1 + 0.05 * torch.randn(shape), 0.02 * torch.randn(shape)
    return torch.stack(moved) * gain + offset + 0.01 * torch.randn_like(x)


def to_tensor(images: Images) -> Tensor:
    """Scans in [0, 1] as networks see them: (n, 1, i, j[, k]) in [-1, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(images, np.float32))[:, None] * 2 - 1
    return x[..., 0] if images.shape[3] == 1 else x


def _batches(images: Images) -> list[Tensor]:
    return list(torch.split(to_tensor(images), 64))
