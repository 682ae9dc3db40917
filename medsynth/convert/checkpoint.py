"""Stage "checkpoint" from somebody else's files: a generator, or an autoencoder alone.

checkpoint/: as training writes it, and import.json: for each network the arguments found, what
was assumed because nobody told it, what was left out, and the proof.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medsynth.checkpoint import save_autoencoder, save_generator
from medsynth.convert.config import ConvertConfig
from medsynth.convert.foreign import Kind, read_networks, weight_files
from medsynth.convert.generator import (
    build_autoencoder,
    build_denoiser,
    build_generator,
    require_generator,
    scale_of,
)
from medsynth.convert.mapping import Mapped, map_to_core
from medsynth.convert.proof import Proof, package, prove
from medsynth.core.digest import file_digest, json_digest
from medsynth.core.stage import Artifact, Request, code_digest, produce

FILE_NAME = "import.json"
DEFAULTS = ConvertConfig()
_SECTIONS: Mapping[Kind, str] = {
    "AutoencoderKL": "autoencoder",
    "VQVAE": "vqvae",
    "DiffusionModelUNet": "denoiser",
    "ControlNet": "controlnet",
}


def import_checkpoint(source: Path, out: Path, config: ConvertConfig = DEFAULTS) -> Artifact:
    """The networks of a file, or of the files of a folder, as our generator.

    Raises UsageProblem, with the reason, for what cannot be brought over exactly.
    """
    files = weight_files(source)
    found = read_networks(files, entry=config.entry, ignored=config.ignored)
    mapped = {kind: map_to_core(n, getattr(config, _SECTIONS[kind])) for kind, n in found.items()}
    require_generator(mapped, config)
    request = Request(
        "checkpoint",
        {"source": json_digest(sorted(map(file_digest, files)))},
        config.model_dump(mode="json") | {"compared_with": package()},
        code_digest("medsynth.convert"),
    )
    return produce(out, request, lambda folder: _build(folder, mapped, config))


def _build(folder: Path, mapped: Mapping[Kind, Mapped], config: ConvertConfig) -> None:
    encoder = mapped.get("AutoencoderKL") or mapped["VQVAE"]
    autoencoder = build_autoencoder(encoder, config)
    proofs = [(encoder, prove(encoder, autoencoder.network))]
    if "DiffusionModelUNet" in mapped:
        unet, control = mapped["DiffusionModelUNet"], mapped.get("ControlNet")
        denoiser = build_denoiser(unet, control, autoencoder, config)
        proofs.append((unet, prove(unet, denoiser.network)))
        if control is not None and denoiser.control is not None:
            proofs.append((control, prove(control, denoiser.control.network)))
        generator = build_generator(autoencoder, denoiser, config)
        save_generator(folder, generator, prepared_digest="")
    else:
        save_autoencoder(folder, autoencoder, scale_of(autoencoder, config))
    rows = {network.foreign.kind: _told(network, proof) for network, proof in proofs}
    text = json.dumps({"compared_with": package(), "networks": rows}, indent=1, sort_keys=True)
    (folder / FILE_NAME).write_text(text + "\n")


def _told(network: Mapped, proof: Proof) -> Mapping[str, Any]:
    return {
        "arguments": dict(network.arguments),
        "assumed": network.unseen.assumed,
        "num_weights": len(network.weights),
        "num_left_out": network.num_left_out,
        "proof": proof.text,
        "difference": proof.difference,
    }


def read_import(folder: Path) -> Mapping[str, Any]:
    """What import.json says of each network, by its kind."""
    networks: Mapping[str, Any] = json.loads((folder / FILE_NAME).read_text())["networks"]
    return networks
