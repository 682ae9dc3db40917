"""The report of a run: one page that needs nothing but itself, whatever the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from medsynth.core.pictures import inlined, scan_picture
from medsynth.core.schema import Attributes, AttributeSchema, AttributeValue
from medsynth.evaluate.achieved import Achieved
from medsynth.evaluate.effects import Effect
from medsynth.evaluate.metrics import Metric
from medsynth.evaluate.obedience import disobedience_words
from medsynth.release.charts import curve_chart, distribution_chart, scatter_chart
from medsynth.release.effects import effect_table
from medsynth.release.shown import Shown
from medsynth.release.templates import render
from medsynth.release.views import sweep_figures, trace_figures
from medsynth.release.wording import (
    achieved_row,
    attribute_words,
    gate_row,
    metric_row,
    missing_words,
    number,
)

_NO_SCHEMA = AttributeSchema()
_NOTHING_SHOWN = Shown()


@dataclass(frozen=True)
class Counts:
    """How many came in, went through and came out; `None` where a stage was not reached.

    `quarantined` is reason -> files, `subjects` is fold -> subjects; `num_screened_out` is rounded
    as in the certificate.
    """

    num_scans: int | None = None
    quarantined: Mapping[str, int] = field(default_factory=dict)
    subjects: Mapping[str, int] = field(default_factory=dict)
    num_trained: int | None = None
    num_sampled: int | None = None
    num_screened_out: int | None = None
    num_accepted: int | None = None
    num_released: int | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """One accepted synthetic scan to show: voxels in [0, 1] and what was asked for."""

    voxels: Float[np.ndarray, "i j k"]
    attributes: Attributes


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that the page shows.

    `audit` is the object of CONTRACTS.md, "Audit output", or `None` where no audit was made.
    `problems` are sentences on why a run ended early. `asked` and `read` hold the attributes of
    each accepted scan, row by row. Samples are of accepted scans only, and what is `shown` passed
    the same screen, as did what `effects` were read off. `histories` are what each network's
    training told of itself, step by step, `warnings` what it said of its fold beforehand.
    """

    title: str
    created: str
    schema: AttributeSchema = _NO_SCHEMA
    counts: Counts = Counts()
    audit: Mapping[str, Any] | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    achieved: Sequence[Achieved] = ()
    asked: Sequence[Attributes] = ()
    read: Sequence[Attributes] = ()
    samples: Sequence[Sample] = ()
    shown: Shown = _NOTHING_SHOWN
    effects: Sequence[Effect] = ()
    histories: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    does_not_show: Sequence[str] = ()
    problems: Sequence[str] = ()

    @property
    def verdict(self) -> str | None:
        """PASS, FAIL, INCONCLUSIVE, or `None` where nobody has judged yet."""
        return self.audit["verdict"] if self.audit else None


def write_report(path: Path, report: Report) -> None:
    """Write the report as one self-contained HTML file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render("report.html", **_page(report)), encoding="utf-8")


def _page(report: Report) -> dict[str, Any]:
    gates = list(report.audit["gates"]) if report.audit else []
    return {
        "report": report,
        "verdict_class": (report.verdict or "none").lower(),
        "verdict_words": _VERDICT_WORDS[report.verdict],
        "flow": _flow(report.counts),
        "gates": [gate_row(gate) for gate in gates],
        "missing": [*report.problems, *missing_words(gates)],
        "metrics": [metric_row(name, metric) for name, metric in report.metrics.items()],
        "achieved": [achieved_row(row) for row in report.achieved],
        "attributes": _attribute_charts(report),
        "not_obeyed": disobedience_words(report.metrics),
        "samples": [_sample_figure(sample, report.schema) for sample in report.samples],
        "sweeps": [sweep_figures(sweep) for sweep in report.shown.sweeps],
        "effects": effect_table(report.effects),
        "traces": trace_figures(report.shown.traces),
        "curves": [
            {"name": name, "chart": Markup(chart)}
            for name, history in report.histories.items()
            if (chart := curve_chart(history))
        ],
        "is_wide": any(sample.voxels.shape[2] > 1 for sample in report.samples),
    }


_VERDICT_WORDS = {
    "PASS": "Every gate of the policy passed: what was measured, and how surely, stands below.",
    "FAIL": "At least one limit of the policy is broken. This cohort must not leave.",
    "INCONCLUSIVE": "The evidence does not suffice to say that this cohort is safe. It must not "
    "leave.",
    None: "No audit was made. Nothing of this run may leave.",
}


def _flow(counts: Counts) -> list[tuple[str, str]]:
    """The numbers at the top of the page."""
    steps = [
        ("scans read", counts.num_scans),
        ("files quarantined", sum(counts.quarantined.values())),
        ("subjects", sum(counts.subjects.values()) or None),
        ("scans trained on", counts.num_trained),
        ("sampled", counts.num_sampled),
        ("screened out, rounded", counts.num_screened_out),
        ("accepted", counts.num_accepted),
        ("released", counts.num_released),
    ]
    return [(name, number(count)) for name, count in steps]


def _attribute_charts(report: Report) -> list[dict[str, Any]]:
    charts = []
    for attribute in report.schema:
        if attribute.kind in ("text", "mask") or not report.asked:
            continue
        asked = [row.get(attribute.name) for row in report.asked]
        read: list[AttributeValue] = [row.get(attribute.name) for row in report.read]
        has_pairs = attribute.is_numeric and len(read) == len(asked)
        charts.append(
            {
                "name": attribute.name,
                "unit": attribute.unit,
                "bars": Markup(distribution_chart(attribute, asked, read)),
                "scatter": Markup(scatter_chart(asked, read) if has_pairs else ""),
                "num_missing": sum(value is None for value in asked),
            }
        )
    return charts


def _sample_figure(sample: Sample, schema: AttributeSchema) -> dict[str, Any]:
    words = [attribute_words(name, sample.attributes.get(name)) for name in schema.names]
    return {
        "source": inlined(scan_picture(sample.voxels, height=112)),
        "words": ", ".join(words),
        "parts": words,
    }
