"""Controls of the judge that must come out right, on real brains and on phantoms.

    python -P benchmarks/privacy.py brains --shared ../shared --fold-seed 11 --out FILE.json
    python -P benchmarks/privacy.py phantoms --fold-seed 11 --out FILE.json

Cohorts of real people's scans, moved a little, stand for releases: copies of train scans must FAIL,
those of people in no fold must not, those of controls must FAIL by the lower tail. Only counts
are printed. (-P keeps this file from hiding the package of its name.)
"""

import argparse
import csv
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from medsynth.ingest.phantom import draw_person, draw_phantom
from privacy.access import Access
from privacy.attacks.copying import copying
from privacy.attacks.copying_features import copying_features
from privacy.attacks.partition import partition
from privacy.evidence import Result, decide, rate
from privacy.folds import Fold, RealFolds
from privacy.gates import copying as copying_gate
from privacy.gates import partition as partition_gate
from privacy.gates import rejection
from privacy.gates.every import all_terms
from privacy.gates.logic import num_sound
from privacy.planted import HARD, MUST_CATCH, plant, why_not
from privacy.policy import Policy, read_policy
from privacy.screen.decide import Scores, Screen
from privacy.self_test.run import Bench, members_and_controls, run_self_test
from privacy.terms import HardTerms

PARTS = ("copying", "cohorts", "self_test")
SIDE = 64
SAME_PERSON = 0.915  # correlation of local contrast; the brains leave a gap there
JITTER = ("rotation_7", "bias_field", "noise_05")
SIZES = (100, 300)  # scans of a cohort
SHARES = (0.01, 0.05, 1.0)  # of copies
NUM_DRAWS, NUM_SHUFFLES = 100, 200
NUM_SLOW_DRAWS = 20  # of the copying gates, which resample

Volumes = np.ndarray


def brains(shared: Path) -> Volumes:
    """One slice per person at 64 x 64; the second of two that look alike is left out."""
    folder = shared / "data" / "cohort2d" / "soop_brain_128"
    with (folder / "metadata.csv").open() as table:
        names = [row["image"] for row in csv.DictReader(table)]
    scans = np.stack([np.asarray(Image.open(folder / name)) for name in names])
    fine = scans.astype(np.float32) / 255
    volumes = fine.reshape(len(fine), SIDE, 2, SIDE, 2).mean((2, 4))[..., None]
    kept: Volumes = volumes[~_is_second(volumes[..., 0])]
    return kept


def _is_second(images: Volumes) -> np.ndarray:
    calm = gaussian_filter(images, (0, 1, 1))
    deviation = calm - gaussian_filter(calm, (0, 4, 4))
    spread = np.sqrt(gaussian_filter(deviation**2, (0, 4, 4)))
    contrast = (deviation / (spread + 0.025)).reshape(len(images), -1)
    contrast -= contrast.mean(1, keepdims=True)
    contrast /= np.linalg.norm(contrast, axis=1, keepdims=True)
    seconds: np.ndarray = (np.tril(contrast @ contrast.T, -1) > SAME_PERSON).any(1)
    return seconds


def phantoms(count: int, seed: int) -> Volumes:
    rng = np.random.default_rng(seed)
    people = [draw_person(rng) for _ in range(count)]
    drawn = [
        draw_phantom(rng, age=float(p.age), sex=p.sex, lesion=p.lesion, size=SIDE) for p in people
    ]
    return np.stack(drawn)[..., None].astype(np.float32)


@dataclass(frozen=True, eq=False)
class Study:
    """Folds, and people in none of them."""

    folds: RealFolds
    reserve: Fold
    policy: Policy

    @classmethod
    def of(cls, volumes: Volumes, seed: int, num_planted: int) -> "Study":
        """A third each in train and in reserve, a sixth each in control and calibration."""
        order = np.random.default_rng(seed).permutation(len(volumes))
        ends = [int(len(order) * share) for share in (1 / 3, 1 / 2, 2 / 3)]
        train, control, calibration, reserve = (
            Fold(volumes[part], part) for part in np.split(order, ends)
        )
        return cls(RealFolds(train, control, calibration), reserve, _policy(num_planted))

    @cached_property
    def screen(self) -> Screen:
        """Calibrated on these folds."""
        return Screen.calibrate(self.folds, self.policy.alpha, None, _untold)

    @property
    def pools(self) -> tuple[Volumes, Volumes, Volumes]:
        """Jittered scans of people in no fold, of train and of control."""
        return _jittered(self.reserve), _jittered(self.folds.train), _jittered(self.folds.control)


def _jittered(fold: Fold) -> Volumes:
    """Every scan moved or changed a little; once, since two versions would be duplicates."""
    copies = fold.volumes.copy()
    for number, kind in enumerate(JITTER):
        scans = fold.volumes[number :: len(JITTER)]
        copies[number :: len(JITTER)] = plant(kind, scans, scans, seed=number)
    return copies


def _policy(num_planted: int) -> Policy:
    pilot = read_policy("pilot")
    must, hard = (tuple(k for k in kinds if why_not(k, 1) is None) for kinds in (MUST_CATCH, HARD))
    power = {"must_catch": must, "num_planted": num_planted}
    return pilot.model_copy(
        update={
            "copying": read_policy("research").copying,
            "screen_power": pilot.screen_power.model_copy(update=power),
            "screen_power_hard": HardTerms(
                low_at_least=0.9, num_planted=num_planted, kinds=hard
            ),
        }
    )  # fmt: skip


def _joined(scores: list[Scores]) -> Scores:
    return Scores(
        np.concatenate([s.subjects for s in scores]),
        np.concatenate([s.values for s in scores]),
        np.concatenate([s.is_exact for s in scores]),
    )


def _drawn(scores: Scores, count: int, rng: np.random.Generator) -> Scores:
    picked = rng.permutation(len(scores.is_exact))[:count]
    return Scores(scores.subjects[picked], scores.values[picked], scores.is_exact[picked])


Told = dict[str, dict[str, int]]
"""How often each gate came out how."""


def _told(results: Iterable[Mapping[str, str]]) -> Told:
    """Counted; "any" is FAIL where one of the gates is."""
    counts: dict[str, Counter[str]] = {}
    for result in results:
        word = "FAIL" if "FAIL" in result.values() else "no FAIL"
        for gate, found in {**result, "any": word}.items():
            counts.setdefault(gate, Counter())[found] += 1
    return {gate: dict(counter) for gate, counter in counts.items()}


def _by_screen(study: Study, cohorts: Iterable[Scores]) -> Iterator[dict[str, str]]:
    """What the gates of rejection and partition say of cohorts."""
    for number, cohort in enumerate(cohorts):
        rejected = int(study.screen.rejects(cohort).sum())
        found = members_and_controls(study.screen, cohort, study.folds, number)
        rows = [
            rejection.row(rejected, len(cohort.is_exact), study.policy),
            *partition_gate.rows(found, study.policy),
        ]
        yield {f"{row.gate}/{row.kind}": row.result for row in rows}


def cohort_figures(study: Study, seed: int) -> dict[str, Any]:
    """Cohorts of copies and of innocents, over draws of who is in them."""
    match = partial(study.screen.match, tick=_untold)
    innocent, copied, of_controls = map(match, study.pools)
    rng = np.random.default_rng(seed)
    figures: dict[str, Any] = {}
    for size in SIZES:
        for share in SHARES:
            num = round(share * size)
            cohorts = (
                _joined([_drawn(copied, num, rng), _drawn(innocent, size - num, rng)])
                for _ in range(NUM_DRAWS)
            )
            figures[f"{size} scans, {share:.0%} copies"] = _told(_by_screen(study, cohorts))
        for name, pool in (("held-out people", innocent), ("controls", of_controls)):
            cohorts = (_drawn(pool, size, rng) for _ in range(NUM_DRAWS))
            figures[f"{size} scans, {name}"] = _told(_by_screen(study, cohorts))
    return figures | {"shuffled membership": shuffled(study, _drawn(innocent, SIZES[-1], rng), rng)}


def copying_figures(study: Study, seed: int) -> dict[str, Any]:
    """The same by the gates that look at a cohort as a whole, and need no screen."""
    pools = study.pools
    features, members, controls = copying_features(
        np.concatenate(pools), study.folds.train, study.folds.control
    )
    ends = np.cumsum([len(pool) for pool in pools])
    innocent, copied, of_controls = np.split(np.arange(ends[-1]), ends[:-1])
    mixed = {f"{share:.0%} copies": (share, innocent) for share in SHARES}
    mixed |= {"held-out people": (0.0, innocent), "controls": (0.0, of_controls)}
    rng = np.random.default_rng(seed)

    def drawn(size: int, share: float, rest: np.ndarray) -> Iterator[dict[str, str]]:
        num = round(share * size)
        for number in range(NUM_SLOW_DRAWS):
            rows = np.concatenate([rng.permutation(copied)[:num], rng.permutation(rest)[num:size]])
            found = copying(features[rows], members, controls, number)
            yield {row.kind: row.result for row in copying_gate.rows(found, study.policy)}

    return {
        f"{size} scans, {name}": _told(drawn(size, share, rest))
        for size in SIZES
        for name, (share, rest) in mixed.items()
    }


def shuffled(study: Study, cohort: Scores, rng: np.random.Generator) -> dict[str, Any]:
    """False FAILs of the partition where who is a member is drawn anew each time."""
    everyone = np.concatenate([study.folds.train.subjects, study.folds.control.subjects])
    best, num_members = cohort.by_subject(everyone), study.folds.train.num_subjects
    counts: Counter[str] = Counter()
    for number in range(NUM_SHUFFLES):
        order = rng.permutation(best)
        found = partition(
            order[:num_members], order[num_members:], study.screen.threshold, number
        )  # fmt: skip
        for row in partition_gate.rows(found, study.policy):
            counts[f"{row.kind} {row.result}"] += 1
    return {"draws": NUM_SHUFFLES, **dict(sorted(counts.items()))}


def self_test_figures(study: Study) -> dict[str, Any]:
    """Recall per kind, and what sabotage does."""
    bench = Bench(
        study.folds, study.policy, Access(), None,
        lambda folds, seed: Screen.calibrate(folds, study.policy.alpha, None, _untold), _untold,
    )  # fmt: skip
    found = run_self_test(bench, study.screen)
    recall = {k: rate(*c) for k, c in found.found.items() if not isinstance(c, str)}
    terms = all_terms(study.policy)
    return {
        "recall": {k: [*found.found[k], round(r.low, 3)] for k, r in recall.items()},
        "copies": asdict(found.copies),
        "blinded": found.blinded,
        "emptied": found.emptied,
        "whole numbers": found.misnormalized,
        "sound gates": num_sound(terms),
        "sound gates, inverted": num_sound(terms, _inverted),
    }


def _inverted(*args: Any, **terms: Any) -> Result:
    return decide(*args, **terms | {"side": "below" if terms["side"] == "above" else "above"})


def _untold(count: int) -> None:
    """Nothing is shown."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["brains", "phantoms"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--fold-seed", type=int, default=11)
    parser.add_argument("--planted", type=int, default=15)
    parser.add_argument("--count", type=int, default=940, help="phantoms drawn")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    volumes = brains(given.shared) if given.what == "brains" else phantoms(given.count, 5)
    figures: dict[str, Any] = {"people": len(volumes), "fold seed": given.fold_seed}
    start = time.perf_counter()

    def keep(**parts: Any) -> None:
        figures.update(parts, seconds=round(time.perf_counter() - start))
        given.out.write_text(json.dumps(figures, indent=1) + "\n")
        print(json.dumps(parts, indent=1), flush=True)

    study = Study.of(volumes, given.fold_seed, given.planted)
    sizes = [fold.num_subjects for fold in (*study.folds.present, study.reserve)]
    keep(folds=dict(zip(("train", "control", "calibration", "reserve"), sizes, strict=True)))
    if "copying" in given.parts:
        keep(copying=copying_figures(study, given.fold_seed))
    if "cohorts" in given.parts:
        keep(rank=study.screen.rank, cohorts=cohort_figures(study, given.fold_seed))
    if "self_test" in given.parts:
        keep(self_test=self_test_figures(study))


if __name__ == "__main__":
    main()
