"""The comparison as one table: a column per model, a row per question."""

from collections.abc import Iterator, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from medsynth.evaluate.metrics import Metric

ByModel = Mapping[str, Mapping[str, Metric]]

_MODELS = {
    "diffusion": "diffusion",
    "gan": "GAN",
    "autoregressive": "transformer",
    "gaussian": "Gaussian",
}
_REAL = "real"
_BEFORE = {
    "mmd_reader": "MMD², reader",
    "mmd_frozen": "MMD², frozen",
    "two_sample_auc": "two-sample AUC",
    "precision": "precision",
    "density": "density",
    "recall": "recall",
    "coverage": "coverage",
    "similarity_ratio": "similarity ratio",
}
_AFTER = {
    "members_excess": "members' excess",
    "members_p": "partition, p",
    "rejected": "rejected by screen",
    "num_parameters": "parameters, 10⁶",
    "seconds": "training, min",
    "steps": "steps",
    "scans_seen": "scans seen, 1,000",
    "seconds_per_scan": "a scan, ms",
    "passes": "passes a scan",
}
_UNITS = {"num_parameters": 1e-6, "seconds": 1 / 60, "scans_seen": 1e-3, "seconds_per_scan": 1e3}
_SECTIONS = ("recall", "agreement", "members_excess", "num_parameters")
"""The rows that begin a section."""


def mean_over_seeds(runs: Sequence[ByModel]) -> dict[str, dict[str, Metric]]:
    """Each number's mean; of several runs its bounds are the lowest and the highest of them."""
    models = runs[0]
    return {
        model: {name: _mean([run[model][name] for run in runs]) for name in models[model]}
        for model in models
    }


def _mean(found: Sequence[Metric]) -> Metric:
    values = [metric.value for metric in found if metric.value is not None]
    if len(found) == 1 or len(values) < len(found):
        return found[0] if len(found) == 1 else Metric(n=found[0].n)
    floors = [metric.floor for metric in found if metric.floor is not None]
    floor = sum(floors) / len(floors) if floors else None
    return Metric(sum(values) / len(values), floor, min(values), max(values), found[0].n)


def comparison_table(models: ByModel) -> Table:
    """The table for a terminal."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    for number, head in enumerate(_head(models)):
        table.add_column(
            head, justify="right" if number else "left", no_wrap=number > 0, overflow="fold"
        )
    for key, cells in _rows(models):
        if key.startswith(_SECTIONS) and not _is_second(key, models):
            table.add_section()
        table.add_row(*cells)
    return table


def markdown_table(models: ByModel) -> str:
    """The table for a page, with the bounds of what has any."""
    head = _head(models)
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    lines += [cells for _, cells in _rows(models, with_bounds=True)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _head(models: ByModel) -> list[str]:
    return ["", *(_MODELS[model] for model in models), _REAL]


def _is_second(key: str, models: ByModel) -> bool:
    """Whether an agreement follows another one."""
    agreements = [name for name, _ in _questions(models) if name.startswith("agreement")]
    return key in agreements[1:]


def _questions(models: ByModel) -> Iterator[tuple[str, str]]:
    """Name and words of each row; an agreement for every attribute that has one."""
    yield from _BEFORE.items()
    for name in models["diffusion"]:
        if name.startswith("agreement_"):
            yield name, f"agreement {name.removeprefix('agreement_')}"
    yield from _AFTER.items()


def _rows(models: ByModel, *, with_bounds: bool = False) -> Iterator[tuple[str, list[str]]]:
    for name, words in _questions(models):
        found = [metrics[name] for metrics in models.values()]
        floor = next((metric.floor for metric in found if metric.floor is not None), None)
        unit = _UNITS.get(name, 1.0)
        values = [_cell(metric, unit, with_bounds=with_bounds) for metric in found]
        yield name, [words, *values, _short(floor, unit)]


def _cell(metric: Metric, unit: float, *, with_bounds: bool) -> str:
    value = _short(metric.value, unit)
    if not with_bounds or metric.low is None or metric.high is None:
        return value
    return f"{value} ({_short(metric.low, unit)} to {_short(metric.high, unit)})"


def _short(value: float | None, unit: float) -> str:
    if value is None:
        return "-"
    scaled = value * unit
    return f"{scaled:.3f}" if abs(scaled) < 10 else f"{scaled:,.0f}"
