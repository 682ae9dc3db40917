"""Texts of a manifest: nothing but words that enough subjects of the archive share."""

from collections.abc import Sequence, Set
from dataclasses import replace

from medsynth.core.manifest import Scan
from medsynth.core.text import scrubbed, shared_words, words_of
from medsynth.ingest.config import IngestConfig


def scrub_texts(
    scans: Sequence[Scan], config: IngestConfig, identifying: Set[str]
) -> Sequence[Scan]:
    """The scans with every text in its normal form; a word that names anybody is unknown.

    `identifying` are words of the headers' names, ids and places, whoever they belong to.
    """
    names = {word for text in identifying for word in words_of(text)}
    for name, source in config.attributes.items():
        if source.kind == "text":
            told = [(s.subject_id, str(t)) for s in scans if (t := s.attributes[name]) is not None]
            known = shared_words(told, source.min_subjects) - names
            scans = [_scrubbed(scan, name, known) for scan in scans]
    return scans


def _scrubbed(scan: Scan, name: str, known: Set[str]) -> Scan:
    text = scan.attributes[name]
    if text is None:
        return scan
    return replace(scan, attributes={**scan.attributes, name: scrubbed(str(text), known) or None})
