"""Small charts as inline SVG; colors come from the page, so that they follow light and dark."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from math import log10

import numpy as np
from jaxtyping import Float

from medsynth.core.schema import Attribute, AttributeValue
from medsynth.evaluate.metrics import Metric

_WIDTH, _HEIGHT = 320, 132
_BASE, _TOP, _LEFT = 108, 8, 44
_MAX_BARS = 8


def distribution_chart(
    attribute: Attribute, asked: Sequence[AttributeValue], read: Sequence[AttributeValue]
) -> str:
    """Asked beside read: a histogram of numbers, or a pair of bars for each value."""
    if attribute.is_numeric:
        return _histogram(_numbers(asked), _numbers(read))
    return _bars(attribute, _words(asked), _words(read))


def scatter_chart(asked: Sequence[AttributeValue], read: Sequence[AttributeValue]) -> str:
    """Each scan's asked and read number; on the line they agree."""
    pairs = [(a, b) for a, b in zip(asked, read, strict=True) if a is not None and b is not None]
    points = np.array(pairs, np.float64).reshape(-1, 2)
    if not len(points):
        return ""
    low, high = float(points.min()), float(points.max())
    span = (high - low) or 1.0
    left, side = 34.0, float(_BASE - _TOP)
    stretch = (_WIDTH - left - 8) / side

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (x - low) / span * side * stretch, _BASE - (y - low) / span * side

    (x0, y0), (x1, y1) = place(low, low), place(high, high)
    marks = [f'<line class="ideal" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>']
    for x, y in points[:400]:
        px, py = place(float(x), float(y))
        marks.append(f'<circle class="dot" cx="{px:.1f}" cy="{py:.1f}" r="2.2"/>')
    marks += [
        _text(left, _HEIGHT - 8, f"{low:.3g}", "start"),
        _text(_WIDTH - 8, _HEIGHT - 8, f"{high:.3g}", "end"),
    ]
    marks += [_text((_WIDTH + left) / 2, _HEIGHT - 8, "asked", "middle")]
    marks += [
        _text(left - 6, _BASE, f"{low:.3g}", "end"),
        _text(left - 6, _TOP + 8, f"{high:.3g}", "end"),
    ]
    marks += [_text(left - 6, (_BASE + _TOP) / 2 + 4, "read", "end")]
    return _svg(marks, "Asked beside read, scan by scan")


def curve_chart(history: Sequence[Mapping[str, float]]) -> str:
    """Loss and validation loss by step, the loss on a log scale; nothing where none was told."""
    curves = {name: _curve(history, name) for name in ("loss", "validation")}
    told = [points for points in curves.values() if len(points)]
    if not told:
        return ""
    points = np.concatenate(told)
    (first, low), (last, high) = points.min(0), points.max(0)
    span, rise = (last - first) or 1.0, (high - low) or 1.0

    def place(step: float, level: float) -> str:
        x = _LEFT + (step - first) / span * (_WIDTH - _LEFT - 8)
        return f"{x:.1f},{_BASE - (level - low) / rise * (_BASE - _TOP):.1f}"

    marks = [f'<line class="rule" x1="{_LEFT}" y1="{_BASE}" x2="{_WIDTH - 8}" y2="{_BASE}"/>']
    for name, way in curves.items():
        path = " ".join(place(*point) for point in way.tolist())
        marks.append(f'<polyline class="{name}" points="{path}"/>')
    marks += [
        _text(_LEFT, _HEIGHT - 8, f"step {first:,.0f}", "start"),
        _text(_WIDTH - 8, _HEIGHT - 8, f"{last:,.0f}", "end"),
        _text(_LEFT - 6, _BASE, f"{10**low:.2g}", "end"),
        _text(_LEFT - 6, _TOP + 8, f"{10**high:.2g}", "end"),
    ]
    return _svg(marks, "Loss and validation loss by step")


def _curve(history: Sequence[Mapping[str, float]], name: str) -> Float[np.ndarray, "points 2"]:
    """Steps and logarithms of a loss."""
    told = [(row["step"], log10(row[name])) for row in history if row.get(name, 0) > 0]
    return np.array(told, np.float64).reshape(-1, 2)


def interval_chart(metric: Metric) -> str:
    """A metric's value with its interval, and its floor as an upright line."""
    known = [x for x in (metric.value, metric.floor, metric.low, metric.high) if x is not None]
    if metric.value is None:
        return ""
    low, high = min(known), max(known)
    margin = 0.12 * (high - low) or 0.05
    low, high = low - margin, high + margin

    def place(x: float) -> float:
        return 4 + 152 * (x - low) / (high - low)

    marks = ['<line class="track" x1="4" y1="10" x2="156" y2="10"/>']
    if metric.low is not None and metric.high is not None:
        ends = f'x1="{place(metric.low):.1f}" x2="{place(metric.high):.1f}"'
        marks.append(f'<line class="whisker" {ends} y1="10" y2="10"/>')
    if metric.floor is not None:
        x = place(metric.floor)
        marks.append(f'<line class="floor" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="18"/>')
    marks.append(f'<circle class="value" cx="{place(metric.value):.1f}" cy="10" r="4.2"/>')
    return f'<svg class="interval" viewBox="0 0 160 20" aria-hidden="true">{"".join(marks)}</svg>'


def _histogram(asked: np.ndarray, read: np.ndarray) -> str:
    both = np.concatenate([asked, read])
    if not len(both):
        return ""
    edges = np.histogram_bin_edges(both, 14)
    counts = [np.histogram(x, edges)[0] / max(1, len(x)) for x in (asked, read)]
    marks = _paired_bars(*counts)
    marks += [_text(8, _HEIGHT - 8, f"{edges[0]:.3g}", "start")]
    marks += [_text(_WIDTH - 8, _HEIGHT - 8, f"{edges[-1]:.3g}", "end")]
    return _svg(marks, "How often each value was asked and read")


def _bars(attribute: Attribute, asked: Counter[str], read: Counter[str]) -> str:
    names = [v for v in attribute.values or sorted(asked | read) if asked[v] or read[v]]
    names = sorted(names, key=lambda v: -asked[v])[:_MAX_BARS] if len(names) > _MAX_BARS else names
    if not names:
        return ""
    totals = [max(1, counts.total()) for counts in (asked, read)]
    marks = _paired_bars(
        np.array([asked[v] / totals[0] for v in names]),
        np.array([read[v] / totals[1] for v in names]),
    )
    step = (_WIDTH - 16) / len(names)
    room = max(3, int(step / 6.2))
    for number, name in enumerate(names):
        short = name if len(name) <= room else name[: room - 1] + "…"
        marks.append(_text(8 + step * (number + 0.5), _HEIGHT - 8, short, "middle"))
    return _svg(marks, "How often each value was asked and read")


def _paired_bars(asked: np.ndarray, read: np.ndarray) -> list[str]:
    tallest = max(float(asked.max()), float(read.max())) or 1.0
    step = (_WIDTH - 16) / len(asked)
    width = min(26.0, 0.4 * step)
    marks = [f'<line class="rule" x1="8" y1="{_BASE}" x2="{_WIDTH - 8}" y2="{_BASE}"/>']
    for number, pair in enumerate(zip(asked, read, strict=True)):
        middle = 8 + step * (number + 0.5)
        for side, (name, share) in enumerate(zip(("asked", "read"), pair, strict=True)):
            tall = (_BASE - _TOP) * float(share) / tallest
            left = middle - width + side * width
            marks.append(
                f'<rect class="{name}" x="{left:.1f}" y="{_BASE - tall:.1f}" '
                f'width="{width - 1:.1f}" height="{tall:.1f}" rx="1.5"/>'
            )
    return marks


def _numbers(values: Sequence[AttributeValue]) -> np.ndarray:
    return np.array([value for value in values if value is not None], np.float64)


def _words(values: Sequence[AttributeValue]) -> Counter[str]:
    return Counter(word for value in values if value is not None for word in str(value).split("|"))


def _text(x: float | int, y: float | int, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(marks: Sequence[str], title: str) -> str:
    head = f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">'
    return head + "".join(marks) + "</svg>"
