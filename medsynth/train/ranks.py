"""Several processes that train one network; torchrun starts them.

Every process draws the whole batch and its noise, which cost little, and works on its share of
them: what is learned depends on (seed, step), not on how many took part. Weights stay equal bit
for bit, because all see the same mean gradient. Only the first process writes and reports.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Share:
    """One process's part of every batch: part `rank` of `world` that follow each other."""

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return self.rank == 0

    def rows(self, count: int) -> Int[Tensor, " mine"]:
        """Its positions in a batch of `count`."""
        start, end = (math.ceil(count * r / self.world) for r in (self.rank, self.rank + 1))
        return torch.arange(start, end)


ALONE = Share()
"""Everything, in one process."""


def current_share() -> Share:
    """The share of this process; everything where it is alone."""
    if not distributed.is_initialized():
        return ALONE
    return Share(distributed.get_rank(), distributed.get_world_size())


@contextmanager
def together() -> Iterator[Share]:
    """Join the processes that torchrun started; alone where it started none."""
    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(distributed.get_node_local_rank())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend)
    try:
        yield current_share()
    finally:
        distributed.destroy_process_group()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Put the mean over all processes in place of each gradient; one message for all of them."""
    if not distributed.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    means = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def average_metrics(parts: Mapping[str, Tensor]) -> dict[str, float]:
    """Means over all processes, as numbers."""
    values = torch.stack([value.detach().double() for value in parts.values()]).cpu()
    if distributed.is_initialized():
        distributed.all_reduce(values)
        values /= distributed.get_world_size()
    return dict(zip(parts, values.tolist(), strict=True))


def any_process(is_so: bool) -> bool:
    """Whether it is so for at least one process; all learn the same."""
    if not distributed.is_initialized():
        return is_so
    flag = torch.tensor(int(is_so))
    distributed.all_reduce(flag)
    return bool(flag)


def told_number(number: float) -> float:
    """The first process's number, whatever the others give."""
    if distributed.is_initialized():
        told = torch.tensor(number, dtype=torch.float64)
        distributed.broadcast(told, 0)
        number = told.item()
    return number


def tell_weights(network: nn.Module) -> None:
    """Give every process the first one's weights."""
    if distributed.is_initialized():
        for tensor in network.state_dict().values():
            distributed.broadcast(tensor, 0)


def told_text(text: str) -> str:
    """The first process's text, whatever the others give."""
    if not distributed.is_initialized():
        return text
    letters = torch.tensor(list(text.encode()), dtype=torch.uint8)
    size = torch.tensor(len(letters))
    distributed.broadcast(size, 0)
    if not current_share().is_first:
        letters = torch.empty(int(size), dtype=torch.uint8)
    if size:
        distributed.broadcast(letters, 0)
    return bytes(letters.tolist()).decode()
