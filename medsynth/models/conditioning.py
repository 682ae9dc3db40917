"""Attributes to tensors: one token each, with learned tokens for "missing" and "not asked".

Missing says that nobody recorded the value; null says that nobody asks for one, which guidance
needs. Both are rows of an embedding per attribute, and never the same row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from medsynth.core.schema import Attribute, Attributes, AttributeSchema
from medsynth.models.columns import to_columns, width_of
from medsynth.models.masks import NO_MASKS, Masks, MaskTokens
from medsynth.models.text import NO_TEXTS, StatesTokens, TextStates, TextTokens
from medsynth.models.trained import Trained, TrainedAttribute

PRESENT, MISSING, NULL = 0, 1, 2
_TEXTS = (TextTokens, StatesTokens)


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
    schema: AttributeSchema,
    trained: Trained,
    rows: Sequence[Attributes],
    masks: Masks = NO_MASKS,
    texts: TextStates = NO_TEXTS,
) -> AttributeBatch:
    """Requests or recorded attributes as one batch; a name left out is missing.

    Where training never saw the attribute missing, it is not asked for. `masks` are those that
    the rows name; `texts` reads texts where training had an encoder for them.
    """
    values, states = [], []
    for attribute in schema:
        column = [row.get(attribute.name) for row in rows]
        seen = trained[attribute.name]
        values.append(to_columns(attribute, seen, column, masks, texts).astype(np.float32))
        absent = MISSING if seen.has_missing else NULL
        states.append([absent if value is None else PRESENT for value in column])
    width = np.concatenate(values, axis=1) if values else np.zeros((len(rows), 0), np.float32)
    state = np.array(states, np.int64).reshape(len(schema), len(rows)).T
    return AttributeBatch(torch.from_numpy(width), torch.from_numpy(np.ascontiguousarray(state)))


class ConditionEncoder(nn.Module):
    """A batch of attributes to tokens (n, tokens, dim), masks' tokens of each position last.

    Every attribute has one token, a text some, that of a mask is the mean over its positions;
    without attributes there is one constant. Several masks are added up where they meet.
    """

    def __init__(self, schema: AttributeSchema, trained: Trained, dim: int) -> None:
        super().__init__()
        self.widths = [width_of(a, trained[a.name]) for a in schema]
        self.is_mask = [a.kind == "mask" and width > 0 for a, width in self._pairs(schema)]
        self.readers = nn.ModuleList(
            _reader(a, trained[a.name], width, dim) for a, width in self._pairs(schema) if width
        )
        self.absent = nn.Embedding(max(1, 2 * len(schema)), dim)

    def _pairs(self, schema: AttributeSchema) -> Iterable[tuple[Attribute, int]]:
        return zip(schema, self.widths, strict=True)

    @property
    def num_tokens(self) -> int:
        """Tokens of one scan, but for those of positions."""
        texts = [reader for reader in self.readers if isinstance(reader, _TEXTS)]
        return max(1, len(self.widths) + sum(text.num_tokens - 1 for text in texts))

    @property
    def has_positions(self) -> bool:
        """Whether there are tokens of positions."""
        return any(self.is_mask)

    def forward(self, batch: AttributeBatch) -> Float[Tensor, "n tokens dim"]:
        """Tokens of what is present; missing and null ones from their own rows."""
        if not self.widths:
            row = batch.states.new_zeros((len(batch), 1))
            constant: Tensor = self.absent(row)
            return constant
        rows = 2 * torch.arange(len(self.widths), device=batch.states.device)
        absent: Tensor = self.absent(rows + (batch.states - 1).clamp_min(0))
        parts = [
            _where_present(batch.states[:, index], token, absent[:, index])
            for index, token in enumerate(self._read(batch, absent))
        ]
        planes = [part for part, is_mask in zip(parts, self.is_mask, strict=True) if is_mask]
        tokens = [
            part.mean(dim=1, keepdim=True) if is_mask else part
            for part, is_mask in zip(parts, self.is_mask, strict=True)
        ]
        return torch.cat([*tokens, torch.stack(planes).sum(dim=0)] if planes else tokens, dim=1)

    def _read(self, batch: AttributeBatch, absent: Tensor) -> list[Tensor]:
        readers, tokens = iter(self.readers), []
        columns = torch.split(batch.values, self.widths, dim=1)
        for index, column in enumerate(columns):
            tokens.append(next(readers)(column) if self.widths[index] else absent[:, index])
        return tokens


def _reader(attribute: Attribute, seen: TrainedAttribute, width: int, dim: int) -> nn.Module:
    if attribute.kind == "mask":
        return MaskTokens(seen.grid, len(attribute.values), dim)
    if attribute.kind == "text":
        return StatesTokens(seen.shape, dim) if seen.shape else TextTokens(len(seen.words), dim)
    return NumberToken(dim) if attribute.is_numeric else nn.Linear(width, dim, bias=False)


def _where_present(states: Tensor, token: Tensor, absent: Tensor) -> Float[Tensor, "n tokens dim"]:
    """One attribute's token or tokens where it is present, else its row of absence."""
    tokens = token if token.ndim == 3 else token.unsqueeze(1)
    return torch.where((states == PRESENT)[:, None, None], tokens, absent.unsqueeze(1))


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
