"""What changing one attribute does to everything that is read off a scan: on target and off it.

The first and the last scan of each column of a sweep share their noise and every other attribute.
The evaluation's readers read both; the mean of the differences should be what was asked of the
attribute itself, and nothing of any other. Only views that the judge has let through are read.

The interval is the expanded percentile of a bootstrap over noises, for a plain percentile is too
narrow with so few: T. Hesterberg, "What Teachers Should Know About the Bootstrap", The American
Statistician 69, 2015. A reader that learned from patients in whom two attributes go together may
take one for the other: a change off target is then the reader's as well as the generator's.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.special import expit, softmax
from scipy.stats import norm, t

from medsynth.core.manifest import Manifest, Scan, load_arrays
from medsynth.core.schema import AttributeValue
from medsynth.core.views import STEPS, Views
from medsynth.evaluate.readers import Images, Readers
from medsynth.evaluate.targets import SEVERAL, Target

FILE_NAME = "effects.json"
FEWEST = 5
_CONFIDENCE, _NUM_DRAWS = 0.95, 10_000


@dataclass(frozen=True)
class Effect:
    """The mean change of one thing read, where one attribute goes from `first` to `last`.

    `read` is an attribute in its `unit`, an ordinal one in steps; with a `value`, the probability
    that the reader gives it. Off target nothing is `asked`; `None` is a value no reader knows.
    `low` and `high` are `None` for fewer pairs than bear an interval.
    """

    changed: str
    first: AttributeValue
    last: AttributeValue
    read: str
    value: str
    unit: str
    asked: float | None
    mean: float
    low: float | None
    high: float | None
    num_pairs: int

    @property
    def name(self) -> str:
        """Name of the effect among metrics; of a value its letters and digits."""
        value = f"_{re.sub(r'[^a-zA-Z0-9]+', '_', self.value)}" if self.value else ""
        return f"effect_{self.changed}_on_{self.read}{value}"

    @property
    def is_on_target(self) -> bool:
        """Whether the attribute that is read is the one that was changed."""
        return self.changed == self.read

    @property
    def is_astray(self) -> bool:
        """Whether something changes, off target, that surely should not."""
        if self.is_on_target or self.low is None or self.high is None:
            return False
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, eq=False)
class Pairs:
    """Scans under the first and the last value of one attribute, row by row of one noise."""

    changed: str
    first: AttributeValue
    last: AttributeValue
    before: Images
    after: Images

    @classmethod
    def read(cls, folder: Path) -> "list[Pairs]":
        """The pairs of each sweep of a stage folder of views."""
        scans = {scan.scan_id: scan for scan in Manifest.read(folder)}
        found = []
        for name, groups in Views.read(folder).sets.items():
            if name == STEPS or not groups:
                continue
            ends = [[scans[group[end]] for group in groups] for end in (0, -1)]
            values = [rows[0].attributes[name] for rows in ends]
            volumes = [load_arrays(folder, rows).astype(np.float32) for rows in ends]
            found.append(cls(name, values[0], values[1], volumes[0], volumes[1]))
        return found


def measure_effects(
    folder: Path, readers: Readers, readable: Iterable[str], rng: np.random.Generator
) -> list[Effect]:
    """The effects of every sweep in a stage folder, on each `readable` attribute.

    Values that no scan there asks for are not named: too few training subjects may have them.
    """
    targets = [target for target in readers.targets if target.name in set(readable)]
    scans = Manifest.read(folder).scans
    named = {target.name: _named(target, scans) for target in targets}
    effects: list[Effect] = []
    for pairs in Pairs.read(folder):
        # Each side by itself: equal scans then stand at one place of equal batches, bit for bit.
        before, after = readers.read(pairs.before), readers.read(pairs.after)
        for target in targets:
            change = _told(target, after[target.name]) - _told(target, before[target.name])
            effects += _effects(pairs, target, change, named[target.name], rng)
    return effects


def _effects(
    pairs: Pairs,
    target: Target,
    change: Float[np.ndarray, "n columns"],
    named: Mapping[int, str],
    rng: np.random.Generator,
) -> Iterator[Effect]:
    asked = np.zeros(change.shape[1])
    if target.name == pairs.changed:
        before, after = (_in_units(target, target.encode([v])) for v in (pairs.first, pairs.last))
        asked = (after - before)[0]
    unit = "steps" if target.attribute.kind == "ordinal" else target.attribute.unit
    for column, value in named.items():
        low, high = mean_interval(change[:, column], rng)
        yield Effect(
            changed=pairs.changed,
            first=pairs.first,
            last=pairs.last,
            read=target.name,
            value=value,
            unit=unit,
            asked=float(asked[column]) if np.isfinite(asked[column]) else None,
            mean=float(change[:, column].mean()),
            low=low,
            high=high,
            num_pairs=len(change),
        )


def mean_interval(
    changes: Float[np.ndarray, " n"], rng: np.random.Generator
) -> tuple[float | None, float | None]:
    """Expanded percentiles of the mean over resampled noises, 95 %; none of fewer than five."""
    n = len(changes)
    if n < FEWEST:
        return None, None
    means = changes[rng.integers(n, size=(_NUM_DRAWS, n))].mean(axis=1)
    reach = np.sqrt(n / (n - 1)) * t.ppf((1 + _CONFIDENCE) / 2, n - 1)
    low, high = np.quantile(means, norm.cdf([-reach, reach]))
    return float(low), float(high)


def _named(target: Target, scans: Iterable[Scan]) -> dict[int, str]:
    """The columns of what is told of a target, with the value that each stands for."""
    if target.attribute.is_numeric or target.attribute.kind == "ordinal":
        return {0: ""}
    rows = target.encode([scan.attributes.get(target.name) for scan in scans])
    asked = _in_units(target, np.nan_to_num(rows)).sum(axis=0)
    values = target.values[1:] if _is_yes_or_no(target) else target.values
    return {column: value for column, value in enumerate(values) if asked[column]}


def _told(target: Target, outputs: Float[np.ndarray, "n width"]) -> Float[np.ndarray, "n columns"]:
    """What a reader tells of each scan: a number in its unit, a step, or probabilities."""
    exact = outputs.astype(np.float64)
    if target.attribute.is_numeric:
        return _in_units(target, exact)
    if target.attribute.kind in SEVERAL:
        return np.asarray(expit(exact - np.log(target.weights)))
    return _in_units(target, softmax(exact, axis=1))


def _in_units(
    target: Target, encoded: Float[np.ndarray, "n width"]
) -> Float[np.ndarray, "n columns"]:
    """Rows as `Target.encode` makes them, or shares in place of its ones."""
    if target.attribute.is_numeric:
        return target.to_unit(encoded[:, 0])[:, None]
    if target.attribute.kind == "ordinal":
        return encoded @ np.arange(target.width, dtype=np.float64)[:, None]
    return encoded[:, 1:] if _is_yes_or_no(target) else encoded


def _is_yes_or_no(target: Target) -> bool:
    """Whether one probability says all."""
    return target.attribute.kind == "category" and target.width == 2


def write_effects(folder: Path, effects: Iterable[Effect]) -> None:
    """Write effects.json into a stage folder."""
    rows = [asdict(effect) for effect in effects]
    (folder / FILE_NAME).write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")


def read_effects(folder: Path) -> tuple[Effect, ...]:
    """The effects of an evaluation folder; none where no views were read."""
    path = folder / FILE_NAME
    rows = json.loads(path.read_text()) if path.exists() else []
    return tuple(Effect(**row) for row in rows)
