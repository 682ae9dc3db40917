"""Proof that a network does what the foreign one did: both read the same numbers.

The old network is built by the `generative` package itself, where it is installed, from the
file's own weights; the comparison is in fp64, in which a wrong mapping cannot hide in rounding.
"""

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from medsynth.convert.foreign import Kind
from medsynth.convert.mapping import Mapped
from medsynth.convert.shapes import Arguments
from medsynth.core.errors import UsageProblem

TOLERANCE = 1e-9
"""Largest difference allowed, as a share of the largest output."""
TOLERANCE_FP32 = 1e-5
"""The same of a VQVAE, which casts to fp32 inside."""
_PACKAGE, _ABSENT = "monai-generative", "absent"
_CORE_ONLY = ("include_fc",)
_SIDES = (2, 4, 3)
"""Sides of what the network reads at its lowest level, odd and unequal but for one."""


@dataclass(frozen=True)
class Proof:
    """The largest difference of the outputs, a share of the largest output, and the tolerance.

    Without the package there is no difference to tell.
    """

    difference: float | None
    tolerance: float

    @property
    def text(self) -> str:
        """In words, for the receipt."""
        if self.difference is None:
            return "not compared: package absent"
        return f"proved by comparison: {self.difference:.1e}, at most {self.tolerance:g} allowed"


def package() -> str:
    """Name and version of the package that proofs compare with, or `absent`."""
    try:
        return f"{_PACKAGE} {version(_PACKAGE)}"
    except PackageNotFoundError:
        return _ABSENT


def prove(mapped: Mapped, network: nn.Module) -> Proof:
    """Compare a network that holds the mapped weights with the package's own.

    Raises UsageProblem where they differ by more than the tolerance.
    """
    kind = mapped.foreign.kind
    tolerance = TOLERANCE_FP32 if kind == "VQVAE" else TOLERANCE
    if package() == _ABSENT:
        return Proof(None, tolerance)
    dtype = torch.float32 if kind == "VQVAE" else torch.float64
    inputs = _inputs(kind, mapped.arguments, dtype)
    before = _outputs(kind, _old_network(mapped).to(dtype), inputs)
    try:
        after = _outputs(kind, network.to(dtype), inputs)
    finally:
        # Exact: every number was one of fp32.
        network.float()
    return Proof(_require_equal(kind, before, after, tolerance), tolerance)


def _old_network(mapped: Mapped) -> nn.Module:
    with warnings.catch_warnings():
        # The package was written for an older torch, and says so on import.
        warnings.simplefilter("ignore")
        module = importlib.import_module("generative.networks.nets")
    kept = {name: value for name, value in mapped.arguments.items() if name not in _CORE_ONLY}
    kind = getattr(module, mapped.foreign.kind)
    old: nn.Module = kind(num_channels=kept.pop("channels"), **kept)
    old.load_state_dict(dict(mapped.foreign.weights), strict=True)
    return old


def _inputs(kind: Kind, arguments: Arguments, dtype: torch.dtype) -> tuple[Any, ...]:
    """Random numbers in place of images, context and hint."""
    generator = torch.Generator().manual_seed(0)
    sides = [side * _factor(kind, arguments) for side in _SIDES[: arguments["spatial_dims"]]]

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    images = draw(2, arguments["in_channels"], *sides)
    if kind in ("AutoencoderKL", "VQVAE"):
        return (images,)
    context, classes = arguments["cross_attention_dim"], arguments["num_class_embeds"]
    options = {
        "context": None if context is None else draw(2, 3, context),
        "class_labels": None if classes is None else torch.tensor([0, classes - 1]),
    }
    times = torch.tensor([3, 700])
    if kind == "DiffusionModelUNet":
        return images, times, options
    widths = arguments["conditioning_embedding_num_channels"]
    shrunk = 2 ** (len(widths) - 1)
    hint = draw(2, arguments["conditioning_embedding_in_channels"], *(shrunk * s for s in sides))
    return images, times, hint, options


def _factor(kind: Kind, arguments: Arguments) -> int:
    """By how much the lowest level is smaller than the input."""
    if kind == "VQVAE":
        factor = 1
        for stride, *_ in arguments["downsample_parameters"]:
            factor *= stride
        return factor
    return int(2 ** (len(arguments["channels"]) - 1))


@torch.inference_mode()
def _outputs(kind: Kind, network: Any, inputs: tuple[Any, ...]) -> Sequence[Tensor]:
    network.eval()
    if kind == "AutoencoderKL":
        mean, sd = network.encode(*inputs)
        return mean, sd, network.decode(mean)
    if kind == "VQVAE":
        return network.encode(*inputs), network(*inputs)[0]
    *positional, options = inputs
    output = network(*positional, **options)
    return (output,) if isinstance(output, Tensor) else (*output[0], output[1])


def _require_equal(
    kind: Kind, before: Sequence[Tensor], after: Sequence[Tensor], tolerance: float
) -> float:
    largest = max(float(tensor.abs().max()) for tensor in before)
    pairs = zip(before, after, strict=True)
    difference = max(float((old - new).abs().max()) for old, new in pairs) / (largest or 1.0)
    if not difference <= tolerance:
        raise UsageProblem(
            f"this {kind} must give what the `generative` package gives, but its outputs differ "
            f"by {difference:.1e} of the largest, more than {tolerance:g}"
        )
    return difference
