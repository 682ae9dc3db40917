"""A text as a few tokens: a small transformer over its words, trained with the denoiser.

The vocabulary is what enough training subjects share (core.text). Learned queries attend to the
words' states and give the tokens (perceiver-like pooling: Jaegle et al., 2021, arXiv 2103.03206).
The states may also be those of a frozen encoder, which then reads the same words.
"""

import math
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

MOST_WORDS = 48
NUM_TOKENS = 4
PADDING, NOT_KNOWN, FIRST_WORD = 0, 1, 2
_HEADS = 4


@runtime_checkable
class TextStates(Protocol):
    """What a frozen encoder makes of a scrubbed text: a state for each piece, then zeros."""

    def __getitem__(self, text: str, /) -> Float[np.ndarray, "length width"]:
        """The states of one text."""


NO_TEXTS: TextStates = MappingProxyType({})


class TextTokens(nn.Module):
    """Numbers of words (n, MOST_WORDS), padded with 0, to tokens (n, NUM_TOKENS, dim)."""

    num_tokens = NUM_TOKENS

    def __init__(self, num_words: int, dim: int) -> None:
        super().__init__()
        self.words = nn.Embedding(FIRST_WORD + num_words, dim)
        self.places = nn.Embedding(MOST_WORDS, dim)
        self.queries = nn.Embedding(NUM_TOKENS, dim)
        self.read, self.pool = Attention(dim), Attention(dim)
        self.layers = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, dim)
        )

    def forward(self, column: Float[Tensor, "n words"]) -> Float[Tensor, "n tokens dim"]:
        """Padding is never attended to; a text without words has its first padding."""
        numbers = column.long()
        is_word = (numbers != PADDING) | (torch.arange(MOST_WORDS, device=column.device) == 0)
        places = self.places(torch.arange(MOST_WORDS, device=column.device))
        states = self.words(numbers) + places
        states = states + self.read(states, states, is_word)
        states = states + self.layers(states)
        queries = self.queries(torch.arange(NUM_TOKENS, device=column.device))
        tokens: Tensor = queries + self.pool(queries.expand(len(column), -1, -1), states, is_word)
        return tokens


class StatesTokens(nn.Module):
    """States (n, length * width) of a frozen encoder to tokens (n, NUM_TOKENS, dim)."""

    num_tokens = NUM_TOKENS

    def __init__(self, shape: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.length, width = shape
        self.project, self.pool = nn.Linear(width, dim), Attention(dim)
        self.queries = nn.Embedding(NUM_TOKENS, dim)

    def forward(self, column: Float[Tensor, "n numbers"]) -> Float[Tensor, "n tokens dim"]:
        """Zeros, which are no piece, are never attended to, but for the first."""
        states = column.reshape(len(column), self.length, -1)
        is_piece = (states != 0).any(dim=2) | (torch.arange(self.length, device=column.device) == 0)
        queries = self.queries(torch.arange(NUM_TOKENS, device=column.device))
        asking = queries.expand(len(column), -1, -1)
        tokens: Tensor = queries + self.pool(asking, self.project(states), is_piece)
        return tokens


class Attention(nn.Module):
    """Multi-head attention of queries to states, some of which are hidden."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.heads = math.gcd(dim, _HEADS)
        self.norm, self.to_query = nn.LayerNorm(dim), nn.Linear(dim, dim)
        self.to_key_and_value, self.out = nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, queries: Tensor, states: Tensor, is_seen: Tensor) -> Tensor:
        """(n, queries, dim) from (n, queries, dim) and (n, states, dim)."""
        key, value = self.to_key_and_value(self.norm(states)).chunk(2, dim=-1)
        q, k, v = (self._split(part) for part in (self.to_query(queries), key, value))
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=is_seen[:, None, None])
        mixed: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return mixed

    def _split(self, part: Tensor) -> Tensor:
        return part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2)
