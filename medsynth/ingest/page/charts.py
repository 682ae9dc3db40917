"""Histograms as inline SVG; colors come from the page, so that they follow light and dark."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from medsynth.core.schema import Attribute, AttributeValue

_WIDTH, _HEIGHT = 320, 140
_BASE, _TOP = 114, 18
_LEFT, _RIGHT = 6, 314
_MOST_WORDS = 12
_NUM_BINS = 16
_ROUND_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Histogram:
    """How many values lie between neighboring edges; the last bin holds its upper edge."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def bins(self) -> list[tuple[str, int]]:
        """Each bin in words, with its count."""
        ends = [_number(edge) for edge in self.edges]
        pairs = zip(ends, ends[1:], self.counts, strict=False)
        return [(f"{low} to {high}", count) for low, high, count in pairs]


def histogram(attribute: Attribute, values: Sequence[AttributeValue]) -> Histogram | None:
    """Of a continuous attribute; `None` where no value is known.

    Its ends follow the schema's range, which is nobody's own value; on a log scale the bins are
    even in log(1 + x).
    """
    numbers = [float(value) for value in values if value is not None]
    if not numbers or attribute.low is None or attribute.high is None:
        return None
    return binned(numbers, _edges(attribute.low, attribute.high, attribute.scale == "log"))


def binned(numbers: Sequence[float], edges: Sequence[float]) -> Histogram:
    """The numbers counted between edges; what lies beyond an end counts in its bin."""
    counts, _ = np.histogram(np.clip(numbers, edges[0], edges[-1]), edges)
    return Histogram(tuple(edges), tuple(int(count) for count in counts))


def _edges(low: float, high: float, is_log: bool) -> list[float]:
    if is_log:
        even = np.linspace(math.log1p(low), math.log1p(max(high, low + 1e-6)), _NUM_BINS + 1)
        return [float(edge) for edge in np.expm1(even)]
    wanted = (high - low or 1.0) / _NUM_BINS
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(n * power for n in _ROUND_STEPS if n * power >= wanted * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def count_words(attribute: Attribute, values: Sequence[AttributeValue]) -> list[tuple[str, int]]:
    """How many scans have each word, in the schema's order; the rarest share a line."""
    counts = Counter(word for v in values if v is not None for word in str(v).split("|"))
    words = [word for word in attribute.values or sorted(counts) if counts[word]]
    if len(words) > _MOST_WORDS:
        words = [word for word, _ in counts.most_common(_MOST_WORDS - 1)]
    lines = [(word, counts[word]) for word in words]
    rest = counts.total() - sum(count for _, count in lines)
    return [*lines, ("all others", rest)] if rest else lines


def histogram_chart(histogram: Histogram, title: str) -> str:
    """The histogram as SVG; its description says every count, the tallest bar its own."""
    tallest = max(histogram.counts) or 1
    step = (_RIGHT - _LEFT) / len(histogram.counts)
    marks = [f'<line class="rule" x1="{_LEFT}" y1="{_BASE}" x2="{_RIGHT}" y2="{_BASE}"/>']
    for number, (words, count) in enumerate(histogram.bins):
        tall = (_BASE - _TOP) * count / tallest
        marks.append(
            f'<rect class="bar" x="{_LEFT + number * step + 0.75:.1f}" y="{_BASE - tall:.1f}" '
            f'width="{step - 1.5:.1f}" height="{tall:.1f}"><title>{words}: {count}</title></rect>'
        )
    peak = histogram.counts.index(max(histogram.counts))
    marks.append(_text(_LEFT + (peak + 0.5) * step, _TOP - 5, f"{tallest:,}", "middle"))
    marks += _ticks(histogram.edges, step)
    words = "; ".join(f"{words}: {count}" for words, count in histogram.bins if count)
    label = escape(f"{title}. {words}")
    head = f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
    return head + "".join(marks) + "</svg>"


def _ticks(edges: Sequence[float], step: float) -> list[str]:
    """The first, middle and last edge below the bars."""
    middle = len(edges) // 2
    places = {0: "start", middle: "middle", len(edges) - 1: "end"}
    if len(edges) < 4:
        del places[middle]
    return [
        _text(_LEFT + number * step, _BASE + 16, _number(edges[number]), anchor)
        for number, anchor in places.items()
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _text(x: float, y: float | int, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
