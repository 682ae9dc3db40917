"""A frozen text encoder that somebody else trained: a local folder, read through transformers.

Nothing is fetched and no code of the folder is run; weights are safetensors. It is given texts
that were scrubbed before (core.text), reads each alone, and never learns.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from medsynth.core.digest import file_digest, json_digest
from medsynth.core.errors import StaleInput, UsageProblem
from medsynth.models.text import NO_TEXTS, TextStates

FOLDER = "text_encoder"
"""Folder, inside a checkpoint's, of the encoder that its texts are read by."""
MOST_PIECES = 77
"""Pieces of words that count, those of begin and end too: as many as CLIP reads."""
_VOCABULARIES = ({"tokenizer.json"}, {"vocab.txt"}, {"spiece.model"}, {"vocab.json", "merges.txt"})
_READ = (".json", ".txt", ".model", ".safetensors")
_REMEMBERED = 64


class TextEncoder:
    """States of scrubbed texts: models.text.TextStates of a network and its tokenizer."""

    def __init__(self, network: nn.Module, tokenizer: Any) -> None:
        self.network, self.tokenizer = network.eval().requires_grad_(False), tokenizer
        # Each pass of the guidance asks for the texts of its batch once more.
        self._remembered = lru_cache(_REMEMBERED)(self._encode)

    @property
    def shape(self) -> tuple[int, int]:
        """Most pieces of a text, and numbers of each state."""
        config: Any = self.network.config
        places = getattr(config, "max_position_embeddings", MOST_PIECES)
        return min(MOST_PIECES, self.tokenizer.model_max_length, places), config.hidden_size

    def __getitem__(self, text: str) -> Float[np.ndarray, "length width"]:
        """A state for each piece of a text, then zeros; what is too long is cut."""
        return self._remembered(text)

    # A batch of one: a text's states must not depend on what is read beside it.
    @torch.inference_mode()
    def _encode(self, text: str) -> Float[np.ndarray, "length width"]:
        states = np.zeros(self.shape, np.float32)
        ids = self.tokenizer(text, truncation=True, max_length=self.shape[0])["input_ids"]
        if ids:
            pieces = torch.tensor([ids], device=next(self.network.parameters()).device)
            found = self.network(pieces, attention_mask=torch.ones_like(pieces)).last_hidden_state
            states[: len(ids)] = found[0].float().cpu().numpy()
        return states

    def save(self, folder: Path) -> None:
        """Write network and tokenizer as `load_text_encoder` reads them."""
        with _in_silence():
            self.network.save_pretrained(folder)  # type: ignore[operator]
            self.tokenizer.save_pretrained(folder)


def text_encoder_digest(folder: Path) -> str:
    """Digest of the files that are read, by their names; raises UsageProblem where there is none.

    Neither the folder's path nor any other file in it counts.
    """
    files = [path for path in folder.glob("*") if path.is_file() and path.suffix in _READ]
    names = {path.name for path in files}
    # Without its vocabulary transformers makes up an empty tokenizer, and says nothing.
    has_vocabulary = any(needed <= names for needed in _VOCABULARIES)
    has_weights = any(path.suffix == ".safetensors" for path in files)
    if not (has_vocabulary and has_weights and "config.json" in names):
        raise UsageProblem(
            "a text encoder must be a folder with its config.json, its tokenizer's files (such as "
            "tokenizer.json, or vocab.json and merges.txt) and weights as safetensors; this one "
            "is not (weights of other formats are never read)"
        )
    return json_digest({path.name: file_digest(path) for path in files})


def store_text_encoder(checkpoint: Path, texts: TextStates) -> str:
    """Write an encoder of texts into a checkpoint's folder; its digest, or nothing without one."""
    if not isinstance(texts, TextEncoder):
        return ""
    texts.save(checkpoint / FOLDER)
    return text_encoder_digest(checkpoint / FOLDER)


def stored_text_encoder(checkpoint: Path, digest: str, device: torch.device) -> TextStates:
    """The encoder of this digest that a checkpoint holds; raises StaleInput for any other one."""
    if not digest:
        return NO_TEXTS
    folder = checkpoint / FOLDER
    if not folder.is_dir() or text_encoder_digest(folder) != digest:
        raise StaleInput(
            "a checkpoint must hold the text encoder that it was trained with, unchanged, in "
            f"{FOLDER}/; this one does not: take the folder as training wrote it"
        )
    return load_text_encoder(folder, device)


def load_text_encoder(folder: Path, device: torch.device) -> TextEncoder:
    """The encoder of a local folder, in fp32.

    Raises UsageProblem where transformers is absent, or the folder holds no whole text encoder.
    """
    text_encoder_digest(folder)
    with _in_silence() as transformers:
        # A foreign folder may fail in any way, and the error's text may hold its path.
        try:
            kind = _network_kind(transformers, folder)
            network, report = kind.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:
            raise UsageProblem(
                "this folder's text encoder must be one that transformers reads by itself, such "
                f"as CLIP's, BERT or T5; it does not ({type(error).__name__})"
            ) from None
    if report["missing_keys"] or report["mismatched_keys"]:
        raise UsageProblem("the weights of a text encoder must be those of its config.json")
    if len(tokenizer) > network.config.vocab_size:
        raise UsageProblem(
            f"a text encoder must know every piece of its tokenizer: it knows "
            f"{network.config.vocab_size}, the tokenizer has {len(tokenizer)}"
        )
    return TextEncoder(network.to(device), tokenizer)


def _network_kind(transformers: Any, folder: Path) -> Any:
    """The class to read with: of a whole CLIP its text half."""
    config = transformers.AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    is_clip = config.model_type == "clip"
    return transformers.CLIPTextModel if is_clip else transformers.AutoModelForTextEncoding


@contextmanager
def _in_silence() -> Iterator[Any]:
    """The package, which says nothing: its reports name the folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import transformers
        except ModuleNotFoundError:
            raise UsageProblem(
                "a text encoder needs transformers; install medsynth with its extra `text`"
            ) from None
        logs = transformers.utils.logging
        before = logs.get_verbosity()
        logs.set_verbosity(logs.CRITICAL)
        logs.disable_progress_bar()
        try:
            yield transformers
        finally:
            logs.set_verbosity(before)
            logs.enable_progress_bar()
