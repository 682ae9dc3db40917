"""A compression as one table: costs, then every metric that decides, source beside candidates."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

_COSTS = {
    "num_bytes": ("MB on disk", 1e-6),
    "num_parameters": ("parameters, million", 1e-6),
    "passes": ("network passes a scan", 1.0),
    "seconds_per_scan": ("a scan, ms", 1e3),
}
_MARKS = {"worse": "[red]✗[/]", "unknown": "[yellow]?[/]", "holds": " "}


def compression_table(found: Mapping[str, Any]) -> Table:
    """The table for a terminal of 100 columns."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    for number, head in enumerate(("", "source", "limit", *found["candidates"])):
        table.add_column(head, justify="right" if number else "left", no_wrap=True)
    for row in _cost_rows(found):
        table.add_row(*row)
    table.add_section()
    for row in _metric_rows(found):
        table.add_row(*row)
    return table


def reason_lines(found: Mapping[str, Any]) -> tuple[str, ...]:
    """What became of each candidate, and why."""
    return tuple(
        f"{name}: {'refused: ' + '; '.join(one['reasons']) if one['reasons'] else 'accepted'}"
        for name, one in found["candidates"].items()
    )


def _cost_rows(found: Mapping[str, Any]) -> Iterator[list[str]]:
    tried = found["candidates"].values()
    for name, (words, unit) in _COSTS.items():
        values = [_number(one["cost"][name], unit) for one in tried]
        yield [words, _number(found["source"]["cost"][name], unit), "", *values]
    yield ["times faster (at least)", "", "", *(_spread(one["speedup"]) for one in tried)]


def _metric_rows(found: Mapping[str, Any]) -> Iterator[list[str]]:
    columns = [one["checks"] for one in found["candidates"].values()]
    for checks in zip(*columns, strict=True):
        first = checks[0]
        cells = [f"{_bounded(c['candidate'])} {_MARKS[c['result']]}" for c in checks]
        name = first["name"].replace("_", " ")[:30]
        yield [name, _number(first["source"]["value"]), _number(first["limit"]), *cells]


def _spread(metric: Mapping[str, Any]) -> str:
    return f"{metric['value']:.2f} ({metric['low']:.2f})"


def _bounded(metric: Mapping[str, Any]) -> str:
    """The value and half of its interval."""
    if metric["low"] is None or metric["high"] is None:
        return _number(metric["value"])
    return f"{_number(metric['value'])} ±{(metric['high'] - metric['low']) / 2:.3f}"


def _number(value: float | None, unit: float = 1.0) -> str:
    if value is None:
        return "-"
    scaled = value * unit
    return f"{scaled:.3f}" if abs(scaled) < 100 else f"{scaled:,.0f}"
