"""De-identification beside its peers: the same files, one run, one table.

    .venv/bin/python benchmarks/deidentify.py [--write docs/benchmarks/deidentify.md]

Peers, pinned in benchmarks/peers.txt, lie each in a folder of its own (`make peers`).

Every tool gets every file with its default settings (ours: patient characteristics and modified
dates) and runs in a process of its own. Leaks are counted in what it writes, names of files left
out; real patients' files come from ../shared.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
sys.path[:0] = [str(ROOT / "tests" / "ingest")]
TOOLS = {
    "medsynth": None,
    "dicom-anonymizer 2.1.0": "dicom_anonymizer",
    "deid 0.4.13": "deid",
    "dicognito 0.19.0": "dicognito",
}


def run_ours(files: list[Path], out: Path) -> None:
    from medsynth.core.keys import DEMO_KEYS
    from medsynth.ingest.deidentification.options import DeidentifyConfig, Option
    from medsynth.ingest.deidentification.stage import deidentify

    options = (Option.PATIENT_CHARACTERISTICS, Option.MODIFIED_DATES)
    config = DeidentifyConfig(options=options, secondary_capture=True, localizers=True)
    deidentify(files[0].parent, out, DEMO_KEYS, config)


def run_dicom_anonymizer(files: list[Path], out: Path) -> None:
    from dicomanonymizer.simpledicomanonymizer import anonymize_dicom_file, initialize_actions

    for file in files:
        each(
            lambda file=file: anonymize_dicom_file(
                str(file),
                str(out / file.name),
                base_rules_gen=lambda: initialize_actions("dicomfields_2026c"),
            )
        )


def run_deid(files: list[Path], out: Path) -> None:
    from deid.dicom import replace_identifiers

    for file in files:
        each(
            lambda file=file: replace_identifiers(
                dicom_files=[str(file)],
                save=True,
                overwrite=True,
                output_folder=str(out),
                remove_private=True,
            )
        )


def run_dicognito(files: list[Path], out: Path) -> None:
    from dicognito.anonymizer import Anonymizer
    from pydicom import dcmread

    anonymizer = Anonymizer(seed="benchmark")

    def rewrite(file: Path) -> None:
        dataset = dcmread(file, force=True)
        anonymizer.anonymize(dataset)
        dataset.save_as(out / file.name)

    for file in files:
        each(lambda file=file: rewrite(file))


RUNNERS: dict[str, Callable[[list[Path], Path], None]] = {
    "medsynth": run_ours,
    "dicom-anonymizer 2.1.0": run_dicom_anonymizer,
    "deid 0.4.13": run_deid,
    "dicognito 0.19.0": run_dicognito,
}


def each(rewrite: Callable[[], object]) -> None:
    """One file of a peer; what it cannot take is not written, and counts as such."""
    try:
        rewrite()
    except Exception as error:
        print(type(error).__name__, file=sys.stderr)


def child(tool: str, source: Path, out: Path) -> None:
    """Run one tool over one folder of flat files; the last line is its time in seconds."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable()
    files = sorted(source.iterdir())
    with tempfile.TemporaryDirectory() as folder:  # imports and tables are not timed
        warm = flat(files[:1], Path(folder) / "in")
        (Path(folder) / "out").mkdir()
        RUNNERS[tool](sorted(warm.iterdir()), Path(folder) / "out")
    start = time.perf_counter()
    RUNNERS[tool](files, out)
    print(json.dumps(time.perf_counter() - start))


def measured(tool: str, source: Path, out: Path) -> float:
    """Seconds that a tool takes for a folder, in a process of its own."""
    peer = TOOLS[tool]
    path = str(ROOT / ".peers" / peer) if peer else str(ROOT)
    out.mkdir(parents=True)
    command = [sys.executable, __file__, "--tool", tool, str(source), str(out)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{tool} stopped: {done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def flat(files: list[Path], folder: Path) -> Path:
    """Copies of files under numbers, so that no tool is charged for their names."""
    folder.mkdir(parents=True)
    for number, file in enumerate(sorted(files)):
        shutil.copyfile(file, folder / f"{number:05d}.dcm")
    return folder


def sets(work: Path) -> dict[str, tuple[Path, object]]:
    """The inputs by name, each a flat folder, and what to look for in its outputs."""
    from deidentification import keyed, leaky

    needles = leaky.write_leaky(work / "raw" / "leaky")
    needles = {place: texts for place, texts in needles.items() if place != "file name"}
    found: dict[str, tuple[Path, object]] = {
        "leaky": (flat(list((work / "raw/leaky").rglob("*.dcm")), work / "leaky"), needles)
    }
    answers = keyed.write_keyed(work / "keyed", num_subjects=24)
    found["keyed"] = (work / "keyed", answers)
    for cohort in ("soop_brain_128", "nih_cxr_128"):
        tool, raw = SHARED / "tools/make_archive.py", work / "raw" / cohort
        folders = [str(SHARED / "data/cohort2d" / cohort), str(raw)]
        subprocess.run([sys.executable, str(tool), *folders, "--patients", "100"], check=True)
        planted = leaky.needles_of_archive(raw / "phi.json")
        found[cohort] = (flat(list(raw.rglob("*.dcm")), work / cohort), planted)
    phi = SHARED / "data/phi"
    found["phi"] = (flat(list(phi.rglob("*.dcm")), work / "phi"), leaky.needles_of_files(phi))
    return found


def row(tool: str, inputs: dict[str, tuple[Path, object]], work: Path) -> dict[str, str]:
    """Every figure of one tool."""
    from deidentification import keyed, leaky

    outs = {name: work / "out" / tool.split()[0] / name for name in inputs}
    seconds = {name: measured(tool, folder, outs[name]) for name, (folder, _) in inputs.items()}
    found = {
        name: leaky.leaks_below(outs[name], needles)
        for name, (_, needles) in inputs.items()
        if isinstance(needles, dict)
    }
    reference = set(list(inputs["leaky"][1])[: leaky.NUM_REFERENCE])
    answers = inputs["keyed"][1]
    outputs = keyed.read_outputs(outs["keyed"], answers)
    wrong = set(keyed.score(answers, outputs))
    timed = ("keyed", "soop_brain_128", "nih_cxr_128")
    count = sum(len(list(inputs[name][0].iterdir())) for name in timed)
    share = keyed.shares(answers, wrong)
    return {
        "leaks of the reference's 26": str(len(found["leaky"] & reference)),
        f"leaks of all {len(inputs['leaky'][1])} places": str(len(found["leaky"])),
        "leaks, brains of make_archive (100 patients)": str(len(found["soop_brain_128"])),
        "leaks, chests of make_archive (100 patients)": str(len(found["nih_cxr_128"])),
        f"leaks of {len(inputs['phi'][1])} in shared/data/phi": str(len(found["phi"])),
        "files written": f"{sum(map(num_written, outs.values()))} of "
        f"{sum(len(list(folder.iterdir())) for folder, _ in inputs.values())}",
        "references that lead to a written file": f"{100 * keyed.intact(outputs):.1f} %",
        "age, sex, size and weight right": f"{share['patient']:.1f} %",
        "physics and geometry right": f"{share['physics']:.1f} %",
        "identifiers rightly removed, blanked or replaced": f"{share['identity']:.1f} %",
        "dates moved, intervals kept": f"{share['dates']:.1f} %",
        "all actions of the key": f"{share['all']:.2f} %",
        "method codes (0012,0064) written": f"{100 * keyed.marked(outputs):.0f} %",
        "seconds for 1,000 files": f"{1000 * sum(seconds[n] for n in timed) / count:.1f}",
    }


def num_written(folder: Path) -> int:
    return len(list(folder.rglob("*.dcm")))


def table(rows: dict[str, dict[str, str]]) -> str:
    """The figures as Markdown, a column for each tool."""
    names = list(next(iter(rows.values())))
    lines = [f"| | {' | '.join(rows)} |", "|---|" + "---|" * len(rows)]
    lines += [f"| {name} | {' | '.join(r[name] for r in rows.values())} |" for name in names]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tool", help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    parser.add_argument("folders", nargs="*", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.tool:
        return child(args.tool, *args.folders)
    with tempfile.TemporaryDirectory(prefix="deidentify-") as folder:
        inputs = sets(Path(folder))
        rows = {tool: row(tool, inputs, Path(folder)) for tool in TOOLS}
    where = f"{date.today()}, {platform.machine()}, {os.cpu_count()} CPU cores"
    text = f"{where}, Python {platform.python_version()}.\n\n{table(rows)}\n"
    print(text)
    if args.write:
        before, _, rest = args.write.read_text().partition("<!-- table -->\n")
        after = rest.partition("<!-- end -->\n")[2]
        args.write.write_text(f"{before}<!-- table -->\n{text}<!-- end -->\n{after}")
    return None


if __name__ == "__main__":
    main()
