"""The privacy statement of a checkpoint: what epsilon covers, and what it does not.

checkpoint/dp.json: `format`, `epsilon`, `delta`, `unit`, `neighbors`, `num_subjects`,
`accounting` (both accountants), `mechanism`, `parts` (rows `what`, `status`, `note`). A status is
"public" (no private scan had a say), "dp" (paid for by epsilon) or "not covered".
"""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medsynth.checkpoint import read_json
from medsynth.train.dp_accounting import Mechanism
from medsynth.train.dp_config import DpConfig

FORMAT = "medsynth-dp-1"
FILE_NAME = "dp.json"
PUBLIC, PRIVATE, UNCOVERED = "public", "dp", "not covered"

_PARTS = (
    ("denoiser and condition encoder", PRIVATE, "trained by DP-SGD"),
    ("averages of weights", PRIVATE, "made of private weights alone"),
    ("autoencoder", PUBLIC, "so declared by whoever trained; checkpoint {autoencoder}"),
    ("latent scale", PUBLIC, "taken over with the autoencoder"),
    ("early stopping", PUBLIC, "none: the number of steps was fixed beforehand"),
    ("number of subjects", UNCOVERED, "taken as known; sampling rate and delta depend on it"),
    ("choice of settings", UNCOVERED, "every other training on these subjects spends more"),
    ("ranges and words of attributes", UNCOVERED, "read from the subjects without noise"),
    ("histogram of attributes", UNCOVERED, "counted without noise; plans are drawn from it"),
    ("grid, geometry and modality", UNCOVERED, "chosen by the train fold"),
    ("folds and merged identities", UNCOVERED, "made from the scans"),
    ("screening and audit", UNCOVERED, "they read the scans again, after the training"),
    ("arithmetic of the noise", UNCOVERED, "pseudorandom, in floating point"),
)


def state(
    mechanism: Mechanism, dp: DpConfig, num_subjects: int, autoencoder: str
) -> dict[str, Any]:
    """The statement as plain JSON."""
    epsilon = mechanism.epsilon("prv")
    return {
        "format": FORMAT,
        "epsilon": epsilon,
        "delta": mechanism.delta,
        "unit": "subject, with all scans",
        "neighbors": "one subject more or less",
        "num_subjects": num_subjects,
        "accounting": {
            "library": f"opacus {version('opacus')}",
            "prv": epsilon,
            "rdp": mechanism.epsilon("rdp"),
        },
        "mechanism": {
            "kind": "Gaussian on Poisson samples of subjects",
            "noise_multiplier": mechanism.noise_multiplier,
            "sampling_rate": mechanism.sampling_rate,
            "num_steps": mechanism.num_steps,
            "clip_norm": dp.clip_norm,
            "draws_per_subject": dp.draws_per_subject,
            "scans_per_subject": dp.scans_per_subject,
        },
        "parts": [
            {"what": what, "status": status, "note": note.format(autoencoder=autoencoder[:12])}
            for what, status, note in _PARTS
        ],
    }


def write_statement(folder: Path, statement: Mapping[str, Any]) -> None:
    """Into the checkpoint's folder."""
    (folder / FILE_NAME).write_text(json.dumps(statement, indent=1) + "\n")


def read_statement(checkpoint: Path) -> dict[str, Any] | None:
    """The statement of a checkpoint folder, or None where nothing was promised."""
    path = checkpoint / FILE_NAME
    return read_json(path) if path.is_file() else None
