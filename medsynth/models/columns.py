"""Values of one attribute as columns of numbers, which its token is made from.

A number is scaled; words are flags. An ordinal value is its step between 0 and 1 beside a flag
for every step that it reaches, so that neighbors share all flags but one: the cumulative code of
Cheng, Wang & Pollastri, "A Neural Network Approach to Ordinal Regression", 2008
(arXiv 0704.1028).
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from medsynth.core.schema import Attribute
from medsynth.core.text import scrubbed, words_of
from medsynth.models.masks import NO_MASKS, Masks
from medsynth.models.text import (
    FIRST_WORD,
    MOST_WORDS,
    NO_TEXTS,
    NOT_KNOWN,
    PADDING,
    TextStates,
)
from medsynth.models.trained import TrainedAttribute, split_words, to_scale

Columns = Float[np.ndarray, "n _"]


def width_of(attribute: Attribute, seen: TrainedAttribute) -> int:
    """How many numbers stand for one value; 0 where training saw none."""
    if attribute.is_numeric:
        return 1
    if attribute.kind == "mask":
        return seen.grid.num_voxels if seen.words else 0
    if attribute.kind == "text":
        width = math.prod(seen.shape) if seen.shape else MOST_WORDS
        return width if seen.words else 0
    return len(seen.words) + (attribute.kind == "ordinal" and bool(seen.words))


def to_columns(
    attribute: Attribute,
    seen: TrainedAttribute,
    values: Sequence[float | str | None],
    masks: Masks = NO_MASKS,
    texts: TextStates = NO_TEXTS,
) -> Columns:
    """A row for each value, missing ones too; ValueError for a word that training never saw."""
    if attribute.is_numeric:
        raw = np.array([seen.mean if value is None else float(value) for value in values])
        return ((to_scale(attribute, raw) - seen.mean) / seen.sd)[:, None]
    if attribute.kind == "mask":
        return _mask_columns(seen, values, masks)
    if attribute.kind == "text":
        is_encoded = seen.shape and seen.words
        return _text_states(seen, values, texts) if is_encoded else _text_columns(seen, values)
    flags = _flags(attribute, seen, values)
    return _cumulative(attribute, seen, flags) if attribute.kind == "ordinal" else flags


def _text_columns(seen: TrainedAttribute, values: Sequence[float | str | None]) -> Columns:
    """The number of each word in the vocabulary; what is no part of it is not known."""
    numbers = {word: FIRST_WORD + place for place, word in enumerate(seen.words)}
    columns = np.full((len(values), MOST_WORDS if seen.words else 0), float(PADDING))
    for row, value in enumerate(values):
        words = [] if value is None else words_of(str(value))[: columns.shape[1]]
        columns[row, : len(words)] = [numbers.get(word, NOT_KNOWN) for word in words]
    return columns


def _text_states(
    seen: TrainedAttribute, values: Sequence[float | str | None], texts: TextStates
) -> Columns:
    """The states of each text, in which any word outside of the vocabulary is unknown."""
    known = frozenset(seen.words)
    read = [
        None if v is None else " ".join(scrubbed(str(v), known).split()[:MOST_WORDS])
        for v in values
    ]
    states = {text: texts[text].ravel() for text in {*read} if text is not None}
    nothing = np.zeros(math.prod(seen.shape), np.float32)
    return np.stack([nothing if text is None else states[text] for text in read])


def _mask_columns(
    seen: TrainedAttribute, values: Sequence[float | str | None], masks: Masks
) -> Columns:
    """The code of every voxel."""
    if not seen.words:
        return np.zeros((len(values), 0))
    empty = np.zeros(seen.shape, np.uint8)
    return seen.grid.flatten([empty if v is None else masks[str(v)] for v in values])


def _flags(
    attribute: Attribute, seen: TrainedAttribute, values: Sequence[float | str | None]
) -> Columns:
    flags = np.zeros((len(values), len(seen.words)))
    for row, value in enumerate(values):
        for word in [] if value is None else split_words(attribute, value):
            if word not in seen.words:
                raise ValueError(f"{attribute.name}: a value that training never saw")
            flags[row, seen.words.index(word)] = 1
    return flags


def _cumulative(attribute: Attribute, seen: TrainedAttribute, flags: Columns) -> Columns:
    """Flags of every trained value at or below, and the place in the declared order."""
    if not seen.words:
        return flags
    declared = attribute.values or seen.words
    steps = np.array([declared.index(word) for word in seen.words]) / max(1, len(declared) - 1)
    reached = np.flip(np.cumsum(np.flip(flags, axis=1), axis=1), axis=1)
    return np.concatenate([reached, flags @ steps[:, None]], axis=1)
