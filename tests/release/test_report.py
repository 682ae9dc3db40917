import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.evaluate.achieved import Achieved
from medsynth.evaluate.metrics import Metric
from medsynth.release.report import Counts, Report, Sample, write_report
from medsynth.release.wording import UNKNOWN, attribute_words, number

SCHEMA = AttributeSchema(
    (
        Attribute("age", "continuous", "years", 20.0, 89.0),
        Attribute("finding", "labels", values=("cyst", "lesion")),
    )
)
GATES = [
    {"gate": "partition", "kind": "excess", "estimate": 0.012, "low": -0.03, "high": 0.12,
     "n": 84, "limit": 0.05, "side": "below", "result": "INCONCLUSIVE",
     "reason": "170 more control subjects are needed"},
    {"gate": "partition", "kind": "p", "estimate": 0.345, "low": None, "high": None, "n": 84,
     "limit": 0.01, "side": "above", "result": "PASS", "reason": ""},
]  # fmt: skip


ACHIEVED = [
    Achieved("plan", "finding==cyst age=60..79", 100.0, 100, 98, 180, 91, 79.2, 103.4, 98, 77),
    Achieved("age", "age=missing", 20.35, 22, 21),
]


class _Reader(HTMLParser):
    """Collects what a browser would fetch, open elements and the text."""

    def __init__(self):
        super().__init__()
        self.sources, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [v for name, v in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in ("meta", "img", "br", "rect", "line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("rect", "line", "circle"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _report(rng, *, verdict="INCONCLUSIVE", title="Heads & more"):
    asked = [{"age": 20.0 + i, "finding": ["cyst", "cyst|lesion", None][i % 3]} for i in range(30)]
    read = [{"age": 21.0 + i, "finding": "lesion"} for i in range(30)]
    return Report(
        title=title,
        created="2026-01-02",
        schema=SCHEMA,
        counts=Counts(420, {"no_pixels": 3}, {"train": 231, "control": 84}, 231, 256, 10, 250),
        audit={
            "verdict": verdict, "policy": "demo", "scope": "data", "num_synthetic": 250,
            "num_rejected": 10, "gates": GATES if verdict != "PASS" else GATES[1:],
        },
        metrics={"age_r": Metric(0.913, 0.957, 0.871, 0.944, 250), "finding_auc": Metric(n=9)},
        achieved=ACHIEVED,
        asked=asked,
        read=read,
        samples=[Sample(rng.random((8, 9, 1), np.float32), row) for row in asked[:3]],
        digests={"cohort": "ab" * 32},
        config={"image_size": "64 x 64"},
        does_not_show=["That the model may leave."],
    )  # fmt: skip


def _read(path):
    html, reader = path.read_text(encoding="utf-8"), _Reader()
    reader.feed(html)
    assert not reader.open
    return html, reader, " ".join("".join(reader.text).split())


def test_the_report_needs_nothing_but_itself(rng, tmp_path):
    write_report(tmp_path / "report" / "report.html", _report(rng))
    html, reader, _ = _read(tmp_path / "report" / "report.html")
    assert len(reader.sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    assert not re.search(r"url\(|@import|<script|https?:", html)


def test_the_report_holds_the_numbers(rng, tmp_path):
    write_report(tmp_path / "report.html", _report(rng))
    html, _, text = _read(tmp_path / "report.html")
    numbers = ("420", "231", "250", "0.913", "0.957", "0.871 to 0.944", "0.345", "≤ 0.050")
    for words in (*numbers, "no pixels 3", "ab" * 32, "64 x 64", "That the model may leave."):
        assert words in text
    assert "Heads &amp; more" in html
    assert text.count("age 20") == 1
    assert html.count('class="chart"') == 3


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE"])
def test_a_verdict_that_is_not_pass_says_what_is_missing(rng, tmp_path, verdict):
    write_report(tmp_path / "report.html", _report(rng, verdict=verdict))
    _, _, text = _read(tmp_path / "report.html")
    assert "What is missing" in text
    assert "partition, excess: 170 more control subjects are needed" in text


def test_a_pass_misses_nothing(rng, tmp_path):
    write_report(tmp_path / "report.html", _report(rng, verdict="PASS"))
    assert "What is missing" not in _read(tmp_path / "report.html")[2]


def test_a_run_that_ended_early_still_gets_a_report(tmp_path):
    problem = "40 usable subjects are needed, 12 were found"
    write_report(tmp_path / "r.html", Report("Run", "2026-01-02", problems=[problem]))
    _, _, text = _read(tmp_path / "r.html")
    assert "NO VERDICT" in text
    assert problem in text


def test_markup_in_values_is_only_text(rng, tmp_path):
    write_report(tmp_path / "r.html", _report(rng, title="<script>alert(1)</script>"))
    assert "<script" not in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0123456, "0.012"), (0.00012, "0.00012"), (84, "84"), (12345.6, "12,346"), (-0.5, "-0.500")],
)
def test_numbers_are_short(value, words):
    assert number(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(226603.0, "volume 226,603"), (56.0, "volume 56"), (0.25, "volume 0.25"), ("F", "volume F")],
)
def test_attributes_are_written_as_people_write_numbers(value: float | str, words: str) -> None:
    assert attribute_words("volume", value) == words


def test_asked_stands_beside_achieved(rng, tmp_path):
    write_report(tmp_path / "report.html", _report(rng))
    html, _, _ = _read(tmp_path / "report.html")
    text = " ".join(re.sub("<[^>]+>", " ", html).split())
    assert "finding=cyst age=60..79 named by the plan 100 100 98 91 79 to 103 77 of 98" in text
    assert f"age=missing 20.4 22 21 {UNKNOWN} {UNKNOWN} {UNKNOWN}" in text


def test_an_attribute_that_is_not_obeyed_is_said_in_words(tmp_path, rng):
    report = _report(rng)
    agreement = {"agreement_age": Metric(0.1, 1.0, -0.1, 0.3, 90), "obeyed_age": Metric(0.0, 1.0)}
    write_report(tmp_path / "r.html", replace(report, metrics=agreement))
    assert "age: not obeyed" in (tmp_path / "r.html").read_text()
    write_report(tmp_path / "r.html", report)
    assert "not obeyed" not in (tmp_path / "r.html").read_text()
