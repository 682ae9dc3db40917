"""Free text as words: lower case, letters alone, and only those that enough people share.

A word that too few subjects have could name one of them, so it is unknown; so is whatever holds a
digit, for dates and numbers belong in attributes of their own. Needs the standard library alone.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Set

UNKNOWN = "_"
_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """The words of a text in order; what is no run of letters is unknown."""
    found = (word.lower() for word in _WORD.findall(text))
    return [word if word.isalpha() else UNKNOWN for word in found]


def shared_words(texts: Iterable[tuple[str, str]], fewest: int) -> frozenset[str]:
    """Words in the texts of at least `fewest` subjects; `texts` are pairs (subject, text)."""
    subjects: dict[str, set[str]] = defaultdict(set)
    for subject, text in texts:
        for word in words_of(text):
            subjects[word].add(subject)
    return frozenset(w for w, who in subjects.items() if len(who) >= fewest and w != UNKNOWN)


def scrubbed(text: str, known: Set[str]) -> str:
    """The text in its normal form: known words, and in place of each other one an unknown."""
    return " ".join(word if word in known else UNKNOWN for word in words_of(text))
