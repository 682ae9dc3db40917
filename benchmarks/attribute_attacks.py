"""Attacks on attributes: ours beside anonymeter's, on the same tables.

    OMP_NUM_THREADS=1 python -P benchmarks/attribute_attacks.py [--anonymeter PYTHON]
        [--shared FOLDER]

PYTHON is the interpreter of an environment of its own, since anonymeter needs numpy below 1.27:
`python3.11 -m venv ENV && ENV/bin/pip install anonymeter 'numpy<1.27'`. FOLDER holds the brains and
chests as data/cohort2d. Without -P the file privacy.py beside this one hides the package. A cohort
is "independent" where it is made of other people than members and controls: the best that any
generator can do. Prints the tables of docs/benchmarks/attributes.md.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.ingest.phantom import draw_person, draw_phantom
from privacy.attacks.attributes.image_to_attribute import read_attributes
from privacy.attacks.attributes.inference import infer
from privacy.attacks.attributes.risk import Tries
from privacy.attacks.attributes.singling_out import singling_out
from privacy.attacks.attributes.table import MISSING, Table, make_tables
from privacy.evidence import Interval
from privacy.folds import Fold

NUM_TRIES, SEED, ANONYMETER_COLUMNS = 1000, 0, 3
AGE, SEX = Attribute("age", "continuous", "years"), Attribute("sex", "category")
SCHEMAS = {
    "phantoms": AttributeSchema((AGE, SEX, Attribute("lesion", "category"))),
    "brains": AttributeSchema(
        (AGE, SEX, Attribute("lesion_volume_mm3", "continuous", scale="log"))
    ),
    "chests": AttributeSchema(
        (AGE, SEX, Attribute("view", "category"), Attribute("finding", "labels"))
    ),
}
FOLDERS = {"brains": "soop_brain_128", "chests": "nih_cxr_128"}

Case = tuple[Fold, Fold, Fold]


def draw_phantoms(count: int, seed: int) -> Fold:
    rng = np.random.default_rng(seed)
    people = [draw_person(rng) for _ in range(count)]
    volumes = [
        draw_phantom(rng, age=float(p.age), sex=p.sex, lesion=p.lesion, size=32) for p in people
    ]
    rows = tuple(
        {"age": float(p.age), "sex": p.sex, "lesion": "yes" if p.lesion else "no"} for p in people
    )
    return Fold(np.stack(volumes)[..., None].astype(np.float32), np.arange(count), rows)


def read_scans(folder: Path, schema: AttributeSchema) -> Fold:
    """One scan per person, halved in size."""
    table = pd.read_csv(folder / "metadata.csv", dtype=str).drop_duplicates("patient_id")
    table = table.sample(frac=1, random_state=SEED)
    volumes = [
        np.asarray(Image.open(folder / name).convert("L").resize((64, 64)), np.float32) / 255
        for name in table["image"]
    ]
    rows = tuple(
        schema.parse({a.name: _clean(a, row[a.name]) for a in schema})
        for row in table.to_dict("records")
    )
    return Fold(np.stack(volumes)[..., None], np.arange(len(rows)), rows)


def _clean(attribute: Attribute, value: object) -> object:
    """Ages of clinical tables are now and then no numbers."""
    number = pd.to_numeric(pd.Series([value]), errors="coerce").iloc[0]
    return number if attribute.is_numeric else value


def take(fold: Fold, start: int, stop: int) -> Fold:
    return Fold(fold.volumes[start:stop], fold.subjects[start:stop], fold.attributes[start:stop])


def join(one: Fold, other: Fold) -> Fold:
    volumes = np.concatenate([one.volumes, other.volumes])
    return Fold(volumes, np.arange(len(volumes)), one.attributes + other.attributes)


def cases(
    people: Fold, num_members: int, num_controls: int, size: int
) -> Iterator[tuple[str, Case]]:
    """A cohort of copies, one with a tenth of them, and one of other people."""
    members, rest = take(people, 0, num_members), num_members + num_controls
    controls, others = take(people, num_members, rest), take(people, rest, rest + size)
    copies, tenth = take(members, 0, len(others.volumes)), len(others.volumes) // 10
    yield "verbatim copy", (copies, members, controls)
    yield (
        "a tenth copied",
        (join(take(copies, 0, tenth), take(others, tenth, size)), members, controls),
    )
    yield "independent", (others, members, controls)


Found = Mapping[str, tuple[float, float, Interval]]
"""By attack: shares of members and of controls, and the risk."""


def ours(case: Case, schema: AttributeSchema, num_columns: int) -> Found:
    tables = make_tables(schema, case)
    found = {t.name: _cells(t) for t in singling_out(*tables, NUM_TRIES, SEED, num_columns)}
    inferred = infer(*tables, 1, SEED)  # one round, in which all other columns are known
    found |= {f"inference of {t.name}": _cells(t) for t in inferred.by_secret}
    pooled = infer(*tables, NUM_TRIES, SEED).pooled
    read = read_attributes(case, tables).pooled
    shares = read.tries.members.value, read.tries.controls.value
    return found | {
        "inference, pooled": _cells(pooled),
        "image to attribute": (*shares, read.gap()),
    }


def _cells(tries: Tries) -> tuple[float, float, Interval]:
    return tries.members.value, tries.controls.value, tries.risk()


ANONYMETER = """
import json, sys, warnings
import numpy as np, pandas as pd
from anonymeter.evaluators import InferenceEvaluator, SinglingOutEvaluator
warnings.simplefilter("ignore")
folder, tries, columns, seed, secrets = json.loads(sys.argv[1])
syn, ori, control = (pd.read_csv(f"{folder}/{n}.csv") for n in ("synthetic", "members", "controls"))
np.random.seed(seed)
found = {}
def note(name, evaluator):
    results = evaluator.results(0.9)  # two-sided 90 %: each side 95 %
    risk = results.risk()
    found[name] = [results.attack_rate.value, results.control_rate.value, risk.value, *risk.ci]
for mode in ("univariate", "multivariate"):
    evaluator = SinglingOutEvaluator(ori=ori, syn=syn, control=control, n_attacks=tries,
                                     n_cols=columns, seed=seed)
    try:
        note(mode, evaluator.evaluate(mode=mode))
    except RuntimeError as problem:
        found[mode] = str(problem)
for secret in secrets:
    known = [c for c in syn.columns if c != secret]
    numeric = bool(pd.api.types.is_numeric_dtype(syn[secret]))
    evaluator = InferenceEvaluator(ori=ori, syn=syn, control=control, aux_cols=known, secret=secret,
                                   regression=numeric, n_attacks=tries)
    note(f"inference of {secret}", evaluator.evaluate(n_jobs=1))
print(json.dumps(found))
"""


def theirs(case: Case, schema: AttributeSchema, python: Path) -> Found:
    tables = make_tables(schema, case)
    secrets = [column.name for column in tables[0].columns if column.is_asked]
    with tempfile.TemporaryDirectory() as folder:
        for name, table in zip(("synthetic", "members", "controls"), tables, strict=True):
            frame(table).to_csv(Path(folder) / f"{name}.csv", index=False)
        given = json.dumps([folder, NUM_TRIES, ANONYMETER_COLUMNS, SEED, secrets])
        done = subprocess.run([python, "-c", ANONYMETER, given], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return {
        name: (row[0], row[1], Interval(*row[2:]))
        for name, row in json.loads(done.stdout.splitlines()[-1]).items()
        if not isinstance(row, str)
    }


def frame(table: Table) -> pd.DataFrame:
    """Numbers as they are, codes as words; a missing number is the mean: anonymeter has none."""
    columns = {}
    for column in table.columns:
        known = column.values[column.is_known]
        filled = np.where(column.is_known, column.values, known.mean() if len(known) else 0.0)
        words = np.where(column.values == MISSING, "missing", column.values.astype(str))
        columns[column.name] = filled if column.is_number else np.char.add("w", words)
    return pd.DataFrame(columns)


def show(name: str, columns: list[tuple[str, Found]]) -> None:
    heads = [head for head, _ in columns]
    print(f"\n**{name}**\n\n| attack | {' | '.join(heads)} |\n|{' --- |' * (1 + len(heads))}")
    for attack in dict.fromkeys(key for _, found in columns for key in found):
        cells = [_cell(found.get(attack)) for _, found in columns]
        print(f"| {attack} | {' | '.join(cells)} |", flush=True)


def _cell(found: tuple[float, float, Interval] | None) -> str:
    if found is None:
        return ""
    members, controls, risk = found
    return (
        f"{members:.3f} / {controls:.3f}: {risk.estimate:.3f} ({risk.low:.3f} to {risk.high:.3f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--anonymeter", type=Path)
    parser.add_argument("--shared", type=Path)
    given = parser.parse_args()
    sources = {"phantoms": (draw_phantoms(2400, 1), (800, 800, 800))}
    if given.shared:
        sizes = {"brains": (400, 200, 350), "chests": (200, 100, 147)}
        for name, folder in FOLDERS.items():
            scans = read_scans(given.shared / "data/cohort2d" / folder, SCHEMAS[name])
            sources[name] = (scans, sizes[name])
    for name, (people, sizes) in sources.items():
        for kind, case in cases(people, *sizes):
            start = time.perf_counter()
            columns = [("ours", ours(case, SCHEMAS[name], 6))]
            seconds = time.perf_counter() - start
            if given.anonymeter:
                columns.append(("ours, 3 columns", ours(case, SCHEMAS[name], ANONYMETER_COLUMNS)))
                columns.append(("anonymeter", theirs(case, SCHEMAS[name], given.anonymeter)))
            sizes_said = ", ".join(str(len(fold.volumes)) for fold in case)
            show(
                f"{name}, {kind}; {sizes_said} synthetic, members, controls; {seconds:.1f} s",
                columns,
            )


if __name__ == "__main__":
    main()
