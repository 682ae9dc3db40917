"""Quality on real scans: train, sample and evaluate one set for a budget of minutes.

    python -P benchmarks/quality.py run configs/SET.toml PREPARED WORK --minutes 60 --seed 0 \
        --results docs/benchmarks/quality.jsonl
    python -P benchmarks/quality.py render docs/benchmarks/quality.jsonl docs/benchmarks/quality.md

The budget is processor time of both trainings over the number of threads, so that other work on the
machine does not shorten them; both clocks are recorded. Steps are chosen once, from the measured
time of a step, and kept in WORK: a killed run goes on where it was, a finished one adds nothing.
The cohort is measured as drawn, before any screen. (-P keeps this file from hiding a package.)
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from flows.config import RunConfig, read_config
from medsynth.core.manifest import Manifest
from medsynth.core.stage import Artifact, open_stage
from medsynth.evaluate.comparison import CEILING
from medsynth.evaluate.evaluate import evaluate
from medsynth.sample.cohort import sample
from medsynth.sample.plan import Plan
from medsynth.train.config import TrainConfig
from medsynth.train.report import StepReport
from medsynth.train.train import train

MOST_FOR_AUTOENCODER = 0.4  # of the budget
PROBE_STEPS = 30
UNKNOWN = "-"
K_MIN = 5  # a benchmark releases nothing, and a set of 77 subjects has no cell of 11
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
AT_LEAST_FLOOR, AT_MOST_FLOOR = 0.95, 1.5
LEAST_AGREEMENT, MOST_AUC = 0.9, 0.8


class Clock:
    """Wall and processor seconds by stage, on disk after every mark: a killed run keeps its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spent: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
        self.last = time.monotonic(), time.process_time()

    def mark(self, stage: str) -> None:
        """What went by since the last mark belongs to this stage."""
        now = time.monotonic(), time.process_time()
        before = self.spent.get(stage, [0.0, 0.0])
        self.spent[stage] = [b + n - t for b, n, t in zip(before, now, self.last, strict=True)]
        self.last = now
        self.path.write_text(json.dumps(self.spent))


def run(given: argparse.Namespace) -> None:
    """One training, one cohort, one line of results."""
    config, prepared = read_config(given.config), open_stage(given.prepared)
    given.work.mkdir(parents=True, exist_ok=True)
    key = {"set": config.name, "minutes": given.minutes, "seed": given.seed, "label": given.label}
    if any(key.items() <= line.items() for line in read_lines(given.results)):
        print("this run's line is there already")
        return
    settings = budgeted(config.train, prepared, given.minutes, given.work / "steps.json")
    clock = Clock(given.work / "seconds.json")

    def say(report: StepReport) -> None:
        clock.mark("train")
        if "validation" in report.metrics:
            words = "  ".join(f"{name} {value:.4f}" for name, value in report.metrics.items())
            print(f"{report.stage} {report.step}/{report.num_steps}  {words}", flush=True)

    _, checkpoint = train(prepared, given.work, settings, seed=given.seed, on_step=say)
    clock.mark("train")
    plan = matched(config.sample, prepared, given.seed)
    cohort = sample(checkpoint, given.work, plan, k_min=K_MIN)
    clock.mark("sample")
    evaluation = evaluate(
        cohort, prepared, given.work, config.evaluate, checkpoint=checkpoint, seed=given.seed
    )
    clock.mark("evaluate")
    line = key | facts(config, settings, plan, checkpoint, clock)
    line["metrics"] = json.loads((evaluation.path / "metrics.json").read_text())
    with given.results.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line["metrics"], indent=1))


def budgeted(config: TrainConfig, prepared: Artifact, minutes: float, path: Path) -> TrainConfig:
    """The config with as many steps as the minutes allow, of the autoencoder at most its own."""
    if not path.exists():
        rates = seconds_per_step(config, prepared)
        most = int(60 * minutes * MOST_FOR_AUTOENCODER / rates["latents"])
        first = min(config.autoencoder_steps, max(50, most))
        left = 60 * minutes - first * rates["latents"]
        steps = {
            "autoencoder_steps": first,
            "denoiser_steps": max(50, int(left / rates["checkpoint"])),
        }
        path.write_text(json.dumps(steps | {"seconds_per_step": rates}))
    steps = json.loads(path.read_text())
    names = ("autoencoder_steps", "denoiser_steps")
    return config.model_copy(update={name: steps[name] for name in names})


def seconds_per_step(config: TrainConfig, prepared: Artifact) -> dict[str, float]:
    """Processor seconds over threads that a step of each training takes."""
    few = {"autoencoder_steps": PROBE_STEPS, "denoiser_steps": PROBE_STEPS, "report_every": 10}
    at: dict[str, dict[int, float]] = {}

    def note(report: StepReport) -> None:
        at.setdefault(report.stage, {})[report.step] = time.process_time()

    with tempfile.TemporaryDirectory() as folder:
        train(prepared, Path(folder), config.model_copy(update=few), on_step=note)
    steps = 10 * torch.get_num_threads()
    # Features are taught before the first report, and the last comes after a validation.
    return {stage: (times[20] - times[10]) / steps for stage, times in at.items()}


def matched(plan: Plan, prepared: Artifact, seed: int) -> Plan:
    """As many scans as the control fold has subjects, 100 at least: enough for agreement, too."""
    control = Manifest.read(prepared.path).fold("control")
    return plan.model_copy(update={"count": max(100, len(control.subjects)), "seed": seed})


def facts(
    config: RunConfig, settings: TrainConfig, plan: Plan, checkpoint: Artifact, clock: Clock
) -> dict[str, Any]:
    """What a reader of the line must know to run it again."""
    training = json.loads((checkpoint.path / "training.json").read_text())
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[2], 1),
        "seconds": {name: [round(x) for x in both] for name, both in clock.spent.items()},
        "autoencoder_steps": settings.autoencoder_steps,
        "denoiser_steps": settings.denoiser_steps,
        "best_step": training["best_step"],
        "train": config.train.model_dump(mode="json", exclude_defaults=True),
        "sample": plan.model_dump(mode="json"),
    }


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every result so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def render(given: argparse.Namespace) -> None:
    """Write the tables between the page's marks."""
    lines = read_lines(given.results)
    sets = list(dict.fromkeys(line["set"] for line in lines))
    tables = "\n".join(table([line for line in lines if line["set"] == name]) for name in sets)
    page = given.page.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    given.page.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{after}")


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Runs of one set side by side: value / floor, and the autoencoder's own of the first run."""
    first = runs[0]["metrics"]
    names = [name for name in first if not name.startswith(CEILING)]
    rows = [
        ["", *(_title(run) for run in runs), "autoencoder alone", "goal, first run"],
        ["---"] * (len(runs) + 3),
        ["processor minutes, wall minutes of training", *(_minutes(run) for run in runs), "", ""],
        ["steps; best", *(_steps(run) for run in runs), "", ""],
    ]
    for name in names:
        cells = [_cell(run["metrics"].get(name, {})) for run in runs]
        rows.append([name, *cells, _cell(first.get(CEILING + name, {})), goal(name, first[name])])
    return f"### {runs[0]['set']}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def goal(name: str, metric: Mapping[str, Any]) -> str:
    """Whether a metric meets what is asked of it; empty where nothing is."""
    value, floor = metric["value"], metric["floor"]
    if value is None or floor is None:
        return ""
    if name in ("recall", "coverage"):
        return _met(value >= AT_LEAST_FLOOR * floor, f"{value / floor:.2f} of the floor")
    if name.startswith("mmd_"):
        return _met(value <= AT_MOST_FLOOR * floor, f"{value / floor:.1f} times the floor")
    if name.startswith("agreement_"):
        return _met(value >= LEAST_AGREEMENT, "")
    return _met(value <= MOST_AUC, "") if name == "two_sample_auc" else ""


def _met(is_met: bool, words: str) -> str:
    return ", ".join(filter(None, ["met" if is_met else "missed", words]))


def _title(run: Mapping[str, Any]) -> str:
    label = f" {run['label']}" if run["label"] else ""
    return (
        f"{run['minutes']:g} min, seed {run['seed']}{label}, guidance {run['sample']['guidance']:g}"
    )


def _minutes(run: Mapping[str, Any]) -> str:
    wall, processor = run["seconds"]["train"]
    return f"{processor / 60:.0f}, {wall / 60:.0f}"


def _steps(run: Mapping[str, Any]) -> str:
    return f"{run['autoencoder_steps']} + {run['denoiser_steps']}; {run['best_step']}"


def _cell(metric: Mapping[str, Any]) -> str:
    if metric.get("value") is None:
        return UNKNOWN
    floor = UNKNOWN if metric["floor"] is None else _number(metric["floor"])
    ends = (
        "" if metric["low"] is None else f" [{_number(metric['low'])}, {_number(metric['high'])}]"
    )
    return f"{_number(metric['value'])} / {floor}{ends}"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(required=True)
    runs = verbs.add_parser("run")
    for name in ("config", "prepared", "work"):
        runs.add_argument(name, type=Path)
    runs.add_argument("--minutes", type=float, default=60)
    runs.add_argument("--seed", type=int, default=0)
    runs.add_argument("--label", default="", help="what this run tries")
    runs.add_argument("--results", type=Path, required=True)
    runs.set_defaults(do=run)
    renders = verbs.add_parser("render")
    for name in ("results", "page"):
        renders.add_argument(name, type=Path)
    renders.set_defaults(do=render)
    given = parser.parse_args()
    given.do(given)


if __name__ == "__main__":
    main()
