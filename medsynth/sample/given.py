"""What a plan cannot draw from counts: masks and texts that somebody gives, taken in turn.

A mask of a training subject is that person's anatomy, and no plan may draw one; a report is that
person's story. Both come from whoever asks, who must know that they may be used.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medsynth.checkpoint import Generator
from medsynth.core.digest import json_digest
from medsynth.core.errors import UsageProblem
from medsynth.core.geometry import Volume
from medsynth.core.masks import mask_digest, store_mask
from medsynth.core.schema import Attributes, AttributeSchema
from medsynth.models.masks import Mask
from medsynth.models.trained import check_request


@dataclass(frozen=True)
class Given:
    """Masks, on the generator's grid, and texts by attribute.

    Scan n gets the n-th, and then from the start; a text may be None. An attribute without any is
    left open.
    """

    masks: Mapping[str, tuple[Mask, ...]] = field(default_factory=dict)
    texts: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)

    @property
    def parents(self) -> dict[str, str]:
        """The digest of everything given, as a parent of the cohort; none where nothing was."""
        digests = {name: [*map(mask_digest, masks)] for name, masks in self.masks.items()}
        found = {"masks": json_digest(digests)} if digests else {}
        return found | ({"texts": json_digest(dict(self.texts))} if self.texts else {})

    def __getitem__(self, index: int) -> Attributes:
        """The attributes given to an index."""
        turns = {name: masks[index % len(masks)] for name, masks in self.masks.items()}
        texts = {name: texts[index % len(texts)] for name, texts in self.texts.items()}
        return {**texts, **{name: mask_digest(mask) for name, mask in turns.items()}}

    def lend(self, generator: Generator) -> Generator:
        """The generator, which can be asked for these masks."""
        return generator.with_masks(self._by_digest)

    @property
    def _by_digest(self) -> dict[str, Mask]:
        return {mask_digest(m): np.asarray(m) for masks in self.masks.values() for m in masks}

    def check(self, generator: Generator) -> None:
        """Raise UsageProblem, naming the attribute, where training never saw the like of one."""
        known, ours = self._by_digest, generator.synthesizer
        single: list[Attributes] = [
            *({name: mask_digest(m)} for name, masks in self.masks.items() for m in masks),
            *({name: text} for name, texts in self.texts.items() for text in texts),
        ]
        for request in single:
            try:
                check_request(ours.schema, ours.trained, request, known)
            except ValueError as error:
                raise UsageProblem(str(error)) from None

    def store(self, folder: Path, generator: Generator) -> None:
        """Write the masks into the cohort's stage folder."""
        for masks in self.masks.values():
            for mask in masks:
                store_mask(folder, Volume(mask[None], generator.geometry))


def read_texts(path: Path, schema: AttributeSchema) -> dict[str, tuple[str | None, ...]]:
    """Texts by attribute, from a CSV file with a column for each; an empty cell leaves it open.

    Raises UsageProblem where a column is no attribute of kind text, or there is no row.
    """
    wanted = [attribute.name for attribute in schema if attribute.kind == "text"]
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    columns = set(rows[0]) if rows else set()
    if not columns or not columns <= set(wanted):
        known = ", ".join(wanted) or "none"
        raise UsageProblem(f"texts need a CSV file with columns of {known}, and a row or more")
    return {name: tuple((row[name] or "").strip() or None for row in rows) for name in columns}


NOTHING = Given()
