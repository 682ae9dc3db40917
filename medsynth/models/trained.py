"""What training saw of each attribute, and so what may be asked for.

Part of the checkpoint: statistics of the training fold, never one subject's value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from medsynth.core.schema import Attribute, Attributes, AttributeSchema
from medsynth.core.text import shared_words, words_of
from medsynth.models.cells import ENOUGH
from medsynth.models.masks import NO_MASKS, Mask, MaskGrid, Masks
from medsynth.models.text import MOST_WORDS

SKETCH = "sketch"
_WORDS = ("category", "ordinal", "labels")


@dataclass(frozen=True)
class TrainedAttribute:
    """What training saw of one attribute.

    A continuous one has mean and sd on its own scale and the range [low, high] of the middle 98 %
    of the subjects, in its unit; any other has the `words` that occurred, those of an ordinal one
    in their order, and those of a text that enough subjects share; a mask has its labels, and
    `shape`, `multiple` and `factor` of its grid. Of a text that a frozen encoder reads `shape` is
    that of its states. Where no value was missing, a missing one is not asked for.
    """

    name: str
    mean: float = 0.0
    sd: float = 1.0
    low: float = 0.0
    high: float = 0.0
    words: tuple[str, ...] = ()
    has_missing: bool = True
    shape: tuple[int, ...] = ()
    multiple: int = 1
    factor: int = 1

    @property
    def grid(self) -> MaskGrid:
        """Where a mask lies."""
        i, j, k = self.shape
        return MaskGrid((i, j, k), self.multiple, self.factor)


Trained = Mapping[str, TrainedAttribute]


def learn_attributes(
    schema: AttributeSchema,
    rows: Sequence[Attributes],
    masks: Masks = NO_MASKS,
    grid: MaskGrid | None = None,
    *,
    subjects: Sequence[str] | None = None,
    text_shape: tuple[int, ...] = (),
) -> Trained:
    """The statistics of the training fold; where the schema has masks, `grid` is theirs.

    `subjects` say whose each row is; every row is somebody else's where they are not given.
    `text_shape` is that of the states of a frozen encoder, where one reads the texts.
    """
    owners = list(map(str, range(len(rows)))) if subjects is None else subjects

    def learn(attribute: Attribute) -> TrainedAttribute:
        if attribute.kind == "mask":
            return _learn_mask(attribute, rows, masks, grid)
        if attribute.kind == "text":
            return _learn_text(attribute, rows, owners, text_shape)
        return _learn(attribute, rows)

    return {attribute.name: learn(attribute) for attribute in schema}


def _learn_text(
    attribute: Attribute,
    rows: Sequence[Attributes],
    owners: Sequence[str],
    shape: tuple[int, ...],
) -> TrainedAttribute:
    name = attribute.name
    texts = [
        (who, str(text))
        for who, row in zip(owners, rows, strict=True)
        if (text := row.get(name)) is not None
    ]
    words = tuple(sorted(shared_words(texts, ENOUGH)))
    return TrainedAttribute(name, words=words, has_missing=len(texts) < len(rows), shape=shape)


def _learn_mask(
    attribute: Attribute, rows: Sequence[Attributes], masks: Masks, grid: MaskGrid | None
) -> TrainedAttribute:
    if grid is None:
        raise ValueError(f"{attribute.name}: masks need the grid of the scans")
    found = [str(value) for row in rows if (value := row.get(attribute.name)) is not None]
    words = {word for digest in set(found) for word in mask_words(attribute, masks[digest])}
    ordered = tuple(word for word in attribute.values or (SKETCH,) if word in words)
    has_missing = len(found) < len(rows)
    return TrainedAttribute(attribute.name, words=ordered, has_missing=has_missing, **vars(grid))


def mask_words(attribute: Attribute, mask: Mask) -> set[str]:
    """The labels that occur in a mask; raises ValueError for what is none of the attribute's."""
    if not attribute.values:
        return {SKETCH}
    codes = set(np.unique(mask).tolist()) - {0}
    if codes and max(codes) > len(attribute.values):
        raise ValueError(f"{attribute.name} must have the labels {', '.join(attribute.values)}")
    return {attribute.values[code - 1] for code in codes}


def _learn(attribute: Attribute, rows: Sequence[Attributes]) -> TrainedAttribute:
    name = attribute.name
    present = [value for row in rows if (value := row.get(name)) is not None]
    has_missing = len(present) < len(rows)
    if attribute.kind in _WORDS:
        words = {word for value in present for word in split_words(attribute, value)}
        ordered = in_order(attribute, words)
        return TrainedAttribute(name, words=ordered, has_missing=has_missing)
    if not present:
        return TrainedAttribute(name)
    values = np.array([float(value) for value in present])
    scaled = to_scale(attribute, values)
    low, high = np.quantile(values, [0.01, 0.99])
    sd = float(scaled.std()) or 1.0
    mean = float(scaled.mean())
    return TrainedAttribute(name, mean, sd, float(low), float(high), has_missing=has_missing)


def split_words(attribute: Attribute, value: float | str) -> list[str]:
    """The single words of a value: several for labels."""
    return str(value).split("|") if attribute.kind == "labels" else [str(value)]


def in_order(attribute: Attribute, words: set[str]) -> tuple[str, ...]:
    """Words in the declared order of an ordinal attribute, else sorted."""
    if attribute.kind == "ordinal" and attribute.values:
        return tuple(word for word in attribute.values if word in words)
    return tuple(sorted(words))


def to_scale(attribute: Attribute, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Values on the attribute's own scale: linear, or log(1 + x)."""
    return np.log1p(np.maximum(values, 0)) if attribute.scale == "log" else values


def check_request(
    schema: AttributeSchema, trained: Trained, request: Attributes, masks: Masks = NO_MASKS
) -> None:
    """Raise ValueError, naming the attribute, for what training never saw."""
    for name, value in request.items():
        if name not in schema.names:
            raise ValueError(f"{name}: the generator was not trained on such an attribute")
        if value is None:
            continue
        seen = trained[name]
        if schema[name].is_numeric:
            if not seen.low <= float(value) <= seen.high:
                raise ValueError(
                    f"{name} must lie in the trained range {seen.low:g}..{seen.high:g}"
                )
        elif not _words_of(schema[name], seen, str(value), masks) <= set(seen.words):
            if schema[name].kind == "text":
                raise ValueError(f"{name}: some of its words were never trained")
            raise ValueError(f"{name} must be one of the trained values {', '.join(seen.words)}")


def _words_of(attribute: Attribute, seen: TrainedAttribute, value: str, masks: Masks) -> set[str]:
    if attribute.kind == "text":
        words = words_of(value)
        if not 0 < len(words) <= MOST_WORDS:
            raise ValueError(f"{attribute.name} must have 1 to {MOST_WORDS} words")
        return set(words)
    if attribute.kind != "mask":
        return set(split_words(attribute, value))
    if value not in masks:
        raise ValueError(f"{attribute.name}: a mask is asked for with its picture; none was given")
    if masks[value].shape != seen.shape:
        raise ValueError(f"{attribute.name}: a mask must have the scans' shape {seen.shape}")
    return mask_words(attribute, masks[value])
