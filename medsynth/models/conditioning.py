"""Attributes to tensors: one token each, with learned tokens for "missing" and "not asked".

Missing says that nobody recorded the value; null says that nobody asks for one, which guidance
needs. Both are rows of an embedding per attribute, and never the same row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from medsynth.core.schema import Attribute, Attributes, AttributeSchema

PRESENT, MISSING, NULL = 0, 1, 2
_WORDS = ("category", "ordinal", "labels")


@dataclass(frozen=True)
class TrainedAttribute:
    """What training saw of one attribute.

    A continuous one has mean and sd on its own scale and the range [low, high] of the middle 98 %
    of the subjects, in its unit; any other has the `words` that occurred.
    """

    name: str
    mean: float = 0.0
    sd: float = 1.0
    low: float = 0.0
    high: float = 0.0
    words: tuple[str, ...] = ()


Trained = Mapping[str, TrainedAttribute]


def learn_attributes(schema: AttributeSchema, rows: Sequence[Attributes]) -> Trained:
    """The statistics of the training fold."""
    return {attribute.name: _learn(attribute, rows) for attribute in schema}


def _learn(attribute: Attribute, rows: Sequence[Attributes]) -> TrainedAttribute:
    name = attribute.name
    present = [value for row in rows if (value := row.get(name)) is not None]
    if attribute.kind in _WORDS:
        words = {word for value in present for word in split_words(attribute, value)}
        return TrainedAttribute(name, words=tuple(sorted(words)))
    if not attribute.is_numeric:
        raise ValueError(
            f"{name}: attributes of kind {attribute.kind} cannot condition the generator yet"
        )
    if not present:
        return TrainedAttribute(name)
    values = np.array([float(value) for value in present])
    scaled = to_scale(attribute, values)
    low, high = np.quantile(values, [0.01, 0.99])
    sd = float(scaled.std()) or 1.0
    return TrainedAttribute(name, float(scaled.mean()), sd, float(low), float(high))


def split_words(attribute: Attribute, value: float | str) -> list[str]:
    """The single words of a value: several for labels."""
    return str(value).split("|") if attribute.kind == "labels" else [str(value)]


def to_scale(attribute: Attribute, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Values on the attribute's own scale: linear, or log(1 + x)."""
    return np.log1p(np.maximum(values, 0)) if attribute.scale == "log" else values


def check_request(schema: AttributeSchema, trained: Trained, request: Attributes) -> None:
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
        elif not set(split_words(schema[name], value)) <= set(seen.words):
            raise ValueError(f"{name} must be one of the trained values {', '.join(seen.words)}")


@dataclass(frozen=True)
class AttributeBatch:
    """Attributes of n scans: a state per attribute, and numbers or word flags side by side."""

    values: Float[Tensor, "n width"]
    states: Int[Tensor, "n attributes"]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Int[Tensor, " m"]) -> "AttributeBatch":
        """Some rows, in the order given."""
        return AttributeBatch(self.values[rows], self.states[rows])

    def null(self) -> "AttributeBatch":
        """The same scans with nothing asked."""
        return AttributeBatch(self.values, torch.full_like(self.states, NULL))

    def only(self, is_asked: Sequence[bool]) -> "AttributeBatch":
        """The same scans with only some attributes asked, in the schema's order."""
        unasked = ~torch.tensor(is_asked, dtype=torch.bool, device=self.states.device)
        return AttributeBatch(self.values, self.states.masked_fill(unasked, NULL))

    def dropped(self, rate: float) -> "AttributeBatch":
        """Each attribute nulled at `rate` on its own, and all of a scan's together at `rate`."""
        each = torch.rand(self.states.shape) < rate
        all_at_once = torch.rand(len(self), 1) < rate
        drop = (each | all_at_once).to(self.states.device)
        return AttributeBatch(self.values, self.states.masked_fill(drop, NULL))

    def to(self, device: torch.device) -> "AttributeBatch":
        """The same on another device."""
        return AttributeBatch(self.values.to(device), self.states.to(device))


def encode_attributes(
    schema: AttributeSchema, trained: Trained, rows: Sequence[Attributes]
) -> AttributeBatch:
    """Requests or recorded attributes as one batch; a name left out is missing."""
    values, states = [], []
    for attribute in schema:
        column = [row.get(attribute.name) for row in rows]
        values.append(_columns(attribute, trained[attribute.name], column))
        states.append([MISSING if value is None else PRESENT for value in column])
    width = np.concatenate(values, axis=1) if values else np.zeros((len(rows), 0))
    state = np.array(states, np.int64).reshape(len(schema), len(rows)).T
    return AttributeBatch(
        torch.from_numpy(width.astype(np.float32)), torch.from_numpy(np.ascontiguousarray(state))
    )


def _columns(
    attribute: Attribute, seen: TrainedAttribute, column: Sequence[float | str | None]
) -> Float[np.ndarray, "n width"]:
    if attribute.is_numeric:
        raw = np.array([seen.mean if value is None else float(value) for value in column])
        return ((to_scale(attribute, raw) - seen.mean) / seen.sd)[:, None]
    flags = np.zeros((len(column), len(seen.words)))
    for row, value in enumerate(column):
        for word in [] if value is None else split_words(attribute, value):
            if word not in seen.words:
                raise ValueError(f"{attribute.name}: a value that training never saw")
            flags[row, seen.words.index(word)] = 1
    return flags


class ConditionEncoder(nn.Module):
    """A batch of attributes to tokens (n, attributes, dim); without attributes, one constant."""

    def __init__(self, schema: AttributeSchema, trained: Trained, dim: int) -> None:
        super().__init__()
        self.widths = [1 if a.is_numeric else len(trained[a.name].words) for a in schema]
        self.readers = nn.ModuleList(
            NumberToken(dim) if a.is_numeric else nn.Linear(len(trained[a.name].words), dim, False)
            for a in schema
            if a.is_numeric or trained[a.name].words
        )
        self.has_reader = [a.is_numeric or bool(trained[a.name].words) for a in schema]
        self.absent = nn.Embedding(max(1, 2 * len(schema)), dim)

    @property
    def num_tokens(self) -> int:
        """Tokens of one scan."""
        return max(1, len(self.widths))

    def forward(self, batch: AttributeBatch) -> Float[Tensor, "n tokens dim"]:
        """One token per attribute; missing and null ones from their own rows."""
        if not self.widths:
            row = batch.states.new_zeros((len(batch), 1))
            constant: Tensor = self.absent(row)
            return constant
        rows = 2 * torch.arange(len(self.widths), device=batch.states.device)
        absent: Tensor = self.absent(rows + (batch.states - 1).clamp_min(0))
        is_present = (batch.states == PRESENT).unsqueeze(-1)
        return torch.where(is_present, self._read(batch, absent), absent)

    def _read(self, batch: AttributeBatch, absent: Tensor) -> Tensor:
        readers, tokens = iter(self.readers), []
        columns = torch.split(batch.values, self.widths, dim=1)
        for index, (has_reader, column) in enumerate(zip(self.has_reader, columns, strict=True)):
            tokens.append(next(readers)(column) if has_reader else absent[:, index])
        return torch.stack(tokens, dim=1)


class NumberToken(nn.Module):
    """A scaled number by itself and its Fourier features, through a small network."""

    def __init__(self, dim: int, num_frequencies: int = 4) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        inputs = 1 + 2 * num_frequencies
        self.layers = nn.Sequential(nn.Linear(inputs, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, column: Float[Tensor, "n 1"]) -> Float[Tensor, "n dim"]:
        """Waves of period 8, 4, 2, ... training standard deviations."""
        octaves = 2.0 ** torch.arange(self.num_frequencies, device=column.device)
        phase = column * octaves * (torch.pi / 4)
        token: Tensor = self.layers(torch.cat([column, phase.sin(), phase.cos()], dim=1))
        return token
