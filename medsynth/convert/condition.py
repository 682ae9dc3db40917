"""What an imported generator may be asked for: schema, statistics, cells and the context itself.

Nobody but whoever trained it knows how many people share a value. What they tell is taken for
cells of training subjects; a part of a bin is refused, for nobody told how many are inside it.
"""

from collections.abc import Sequence

import torch

from medsynth.convert.config import ContextAttribute, ConvertConfig
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.cells import Cell, CellTable
from medsynth.models.control import Arguments
from medsynth.models.imported import ContextEncoder
from medsynth.models.masks import MaskGrid
from medsynth.models.trained import SKETCH, Trained, TrainedAttribute


def schema_of(config: ConvertConfig) -> AttributeSchema:
    """The attributes as ours, a ControlNet's mask last."""
    mask = config.mask
    masks = () if mask is None else (Attribute(mask.name, "mask", values=mask.labels),)
    return AttributeSchema((*map(_attribute, config.attributes), *masks))


def _attribute(told: ContextAttribute) -> Attribute:
    if not told.is_number:
        return Attribute(told.name, "category", values=tuple(sorted(_words(told))))
    low, high = _range(told)
    return Attribute(told.name, "continuous", told.unit, low, high)


def _range(told: ContextAttribute) -> tuple[float, float]:
    return (
        min(part.low for part in told.bins if part.low is not None),
        max(part.high for part in told.bins if part.high is not None),
    )


def _words(told: ContextAttribute) -> dict[str, float]:
    """Words and their numbers."""
    pairs = ((part.word, part.number) for part in told.bins)
    return {word: number for word, number in pairs if word is not None and number is not None}


def trained_of(config: ConvertConfig, grid: MaskGrid) -> Trained:
    """What may be asked for; a number's mean and sd are where the network was given 0 and 1."""
    trained = {told.name: _trained(told) for told in config.attributes}
    if config.mask is not None:
        labels = config.mask.labels or (SKETCH,)
        trained[config.mask.name] = TrainedAttribute(config.mask.name, words=labels, **vars(grid))
    return trained


def _trained(told: ContextAttribute) -> TrainedAttribute:
    if not told.is_number:
        return TrainedAttribute(told.name, words=tuple(sorted(_words(told))))
    low, high = _range(told)
    return TrainedAttribute(told.name, told.zero_at, told.one_at - told.zero_at, low, high)


def cells_of(attributes: Sequence[ContextAttribute]) -> CellTable:
    """A block for each attribute, drawn independently of the others."""
    steps = {told.name: told.step for told in attributes if told.is_number}
    return CellTable(tuple(map(_block, attributes)), steps)


def _block(told: ContextAttribute) -> tuple[Cell, ...]:
    def where(low: float | None, high: float | None, word: str | None) -> tuple[float, float] | str:
        return (low, high) if low is not None and high is not None else str(word)

    return tuple(
        Cell({told.name: where(part.low, part.high, part.word)}, part.count) for part in told.bins
    )


def encoder_of(
    config: ConvertConfig, trained: Trained, control: Arguments | None
) -> ContextEncoder:
    """The numbers, and a mask's picture, as the networks were trained to read them."""
    attributes = config.attributes
    rows = [
        [(index, number) for _, number in sorted(_words(told).items())] or [(index, 1.0)]
        for index, told in enumerate(attributes)
    ]
    flat = [entry for row in rows for entry in row]
    encoder = ContextEncoder(schema_of(config), trained, control)
    for column, (index, number) in enumerate(flat):
        encoder.get_buffer("of_columns")[column, index] = number
    encoder.get_buffer("unasked").copy_(torch.tensor([told.unasked for told in attributes]))
    if config.mask is not None:
        encoder.get_buffer("picture.numbers").copy_(torch.tensor(config.mask.table))
    return encoder
