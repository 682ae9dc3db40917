"""The cohort as a BIDS derivative data set; what BIDS has no datatype for lies beside it, ignored.

Every image is written once, as NIfTI in gzip without name or time, so that the same cohort gives
the same bytes; voxels, dtype and affine stay, so that each scan still has its digest.

Reference: BIDS 1.11.1; synthetic images have no key of their own there, `SyntheticData` is ours.
"""

import gzip
import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medsynth.core.geometry import Volume, nifti_image
from medsynth.core.manifest import Manifest, Scan, load_scan
from medsynth.core.schema import Attribute, AttributeValue
from medsynth.release.config import ReleaseConfig

BIDS_VERSION = "1.11.1"
FOLDER = "bids"
MAX_AGE = 89.0  # years; BIDS gives no older ones
_SEXES = {"f": "F", "female": "F", "m": "M", "male": "M", "o": "O", "other": "O"}
_OWN_LAYOUT = {"CR": "xray", "DX": "xray", "XR": "xray", "RG": "xray", "CT": "ct", "PT": "pet"}


def export_bids(
    folder: Path, source: Path, manifest: Manifest, config: ReleaseConfig, *, model: str
) -> Manifest:
    """Write FOLDER/bids and return the manifest whose paths lead into it.

    `manifest` holds requested and measured attributes, `source` the volumes; `model` is the
    digest of the generator.
    """
    root = folder / FOLDER
    root.mkdir()
    width = max(4, len(str(len(manifest))))
    labels = [f"sub-syn{number:0{width}d}" for number in range(1, len(manifest) + 1)]
    exported = []
    for label, scan in zip(labels, manifest, strict=True):
        path = _image_path(label, scan, config)
        (root / path.parent).mkdir(parents=True)
        write_compressed(root / path, load_scan(source, scan))
        _write_json((root / path).with_suffix("").with_suffix(".json"), _sidecar(scan, config))
        leaving = replace(scan, path=f"{FOLDER}/{path}", fold=None, flags=(), provenance=None)
        exported.append(leaving)
    _write_json(root / "dataset_description.json", _description(config, model))
    _write_participants(root, labels, manifest)
    ignored = sorted({_datatype(scan) for scan in manifest} - {"anat"})
    if ignored:
        # No slash at the end: the validator would not match the folder itself.
        lines = [f"sub-*/{datatype}\n" for datatype in ignored]
        (root / ".bidsignore").write_text("".join(lines))
    return manifest.keep(exported)


def write_compressed(path: Path, volume: Volume) -> None:
    """Write one volume as .nii.gz; gzip costs the time, so it is done once and at level 1."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as file,
    ):
        file.write(nifti_image(volume).to_bytes())


def _datatype(scan: Scan) -> str:
    if scan.modality in ("MR", "MRI"):
        return "anat"
    return _OWN_LAYOUT.get(scan.modality, "other")


def _image_path(label: str, scan: Scan, config: ReleaseConfig) -> Path:
    datatype = _datatype(scan)
    suffix = config.suffix if datatype == "anat" else datatype
    return Path(label) / datatype / f"{label}_desc-synthetic_{suffix}.nii.gz"


def _sidecar(scan: Scan, config: ReleaseConfig) -> dict[str, Any]:
    return {
        "Description": "Synthetic scan, sampled from a model: nobody's image",
        "Modality": scan.modality,
        "ImageType": ["DERIVED", "PRIMARY"],
        "SkullStripped": config.is_skull_stripped,
        "SyntheticData": True,
    }


def _description(config: ReleaseConfig, model: str) -> dict[str, Any]:
    return {
        "Name": config.name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": config.license,
        "Authors": list(config.authors),
        "GeneratedBy": [
            {
                "Name": "medsynth",
                "Version": version("medsynth"),
                "Description": "Sampled from an attribute-conditioned latent diffusion model; "
                f"SHA-256 of the model: {model}",
            }
        ],
    }


def _write_participants(root: Path, labels: list[str], manifest: Manifest) -> None:
    """participants.tsv, and a description of every column of it."""
    columns: dict[str, tuple[list[str], Mapping[str, Any]]] = {
        "participant_id": (labels, {"Description": "Synthetic participant: nobody"})
    }
    scans = manifest.scans
    for attribute in manifest.schema:
        if attribute.name in ("age", "sex") and attribute.kind in ("continuous", "category"):
            values = [_standard(attribute, scan.attributes.get(attribute.name)) for scan in scans]
            columns[attribute.name] = (values, _standard_words(attribute))
    columns["synthetic"] = (
        ["true"] * len(scans),
        {"Description": "Whether the images are synthetic", "Levels": {"true": "made by a model"}},
    )
    for attribute in manifest.schema:
        name = attribute.name
        asked = [_cell(scan.attributes.get(name)) for scan in scans]
        columns[f"attr_{name}_requested"] = (asked, _words(attribute, "asked of the generator"))
        if any(name in scan.measured for scan in scans):
            read = [_cell(scan.measured.get(name)) for scan in scans]
            how = "read off the image by a network trained on real scans"
            columns[f"attr_{name}_measured"] = (read, _words(attribute, how))
    rows = zip(*(values for values, _ in columns.values()), strict=True)
    lines = ["\t".join(columns), *("\t".join(row) for row in rows)]
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    _write_json(root / "participants.json", {name: words for name, (_, words) in columns.items()})


def _standard(attribute: Attribute, value: AttributeValue) -> str:
    """The value as BIDS wants age (capped) and sex (F, M, O)."""
    if attribute.name == "sex":
        return _SEXES.get(str(value).lower(), "n/a")
    return _cell(min(value, MAX_AGE)) if isinstance(value, float) else "n/a"


def _standard_words(attribute: Attribute) -> dict[str, Any]:
    asked = "as asked of the generator: an instruction, not an observation"
    if attribute.name == "sex":
        levels = {"F": "female", "M": "male", "O": "other"}
        return {"Description": f"Sex {asked}", "Levels": levels}
    return {"Description": f"Age {asked}; capped at {MAX_AGE:g}", "Units": "year"}


def _words(attribute: Attribute, how: str) -> dict[str, Any]:
    words: dict[str, Any] = {"Description": f"{attribute.name} ({attribute.kind}), {how}"}
    if attribute.is_numeric:
        return words | {"Units": attribute.unit or "arbitrary"}
    if attribute.kind == "labels":
        # No Levels: the validator would take "A|B" for an undeclared one.
        levels = f" of {', '.join(attribute.values)}" if attribute.values else ""
        words["Description"] += f"; any{levels}, several at once joined by |"
        return words
    if attribute.kind == "mask":
        words["Description"] += "; the SHA-256 digest of a mask that is not part of this release"
        return words
    return words | ({"Levels": {v: v for v in attribute.values}} if attribute.values else {})


def _cell(value: AttributeValue) -> str:
    if value is None:
        return "n/a"
    return f"{value:.6g}" if isinstance(value, float) else " ".join(value.split())


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
