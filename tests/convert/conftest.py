"""Networks of the real `generative` package with random weights."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from generative.networks import nets as old

MakeOld = Callable[..., nn.Module]


@pytest.fixture
def make_old() -> MakeOld:
    """A network of the old package, by name; none of its weights is zero."""

    def make(kind: str, **arguments: Any) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            network: nn.Module = getattr(old, kind)(**arguments)
            for weight in network.parameters():
                nn.init.normal_(weight, std=0.3)
        return network.eval()

    return make
