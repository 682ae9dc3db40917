"""What can be said of a training fold before anything is trained: is it enough to learn from?

Too few subjects are refused where the fold is read (fold.py), too little memory or disk by the
forecast of each network (forecast.py). What is merely thin is warned of here; no value and no
subject is named.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from medsynth.core.schema import Attribute, Attributes
from medsynth.models.cells import ENOUGH
from medsynth.models.trained import split_words
from medsynth.train.fold import TrainingFold

_WORDS = ("category", "ordinal", "labels")
FEW_SUBJECTS = 100
FEW_STEERING = 10
FEW_NUMBERS = 5
MOSTLY = 0.5


def fold_warnings(fold: TrainingFold) -> tuple[str, ...]:
    """Sentences on what is thin: subjects, the steering tenth, each attribute."""
    return (*_of_subjects(fold), *(w for a in fold.schema for w in _of_attribute(a, fold)))


def _of_subjects(fold: TrainingFold) -> Iterator[str]:
    pairs = list(zip(fold.subjects, fold.is_validation, strict=True))
    steering = {subject for subject, steers in pairs if steers}
    learning = {subject for subject, steers in pairs if not steers}
    if len(learning) < FEW_SUBJECTS:
        yield (
            f"only {len(learning)} subjects to learn from, {FEW_SUBJECTS} or more are better: "
            "the generator may repeat these people, and the audit may have to refuse"
        )
    if len(steering) < FEW_STEERING:
        yield f"only {len(steering)} subjects steer the training: its early stop is uncertain"


def _of_attribute(attribute: Attribute, fold: TrainingFold) -> Iterator[str]:
    rows = [(s.subject_id, s.attributes) for s in fold.scans]
    rows = [row for row, steers in zip(rows, fold.is_validation, strict=True) if not steers]
    known = [(subject, row) for subject, row in rows if row.get(attribute.name) is not None]
    name = attribute.name
    if not known:
        yield f"{name} is recorded of nobody: it cannot be learned or asked for"
        return
    if len(known) < MOSTLY * len(rows):
        yield f"{name} is missing in {1 - len(known) / len(rows):.0%} of the scans"
    if attribute.is_numeric:
        if len({row[name] for _, row in known}) < FEW_NUMBERS:
            yield f"{name} has fewer than {FEW_NUMBERS} different numbers: declare it an ordinal"
    elif attribute.kind in _WORDS:
        yield from _of_words(name, _holders(attribute, known))


def _of_words(name: str, holders: Mapping[str, set[str]]) -> Iterator[str]:
    rare = sum(len(subjects) < ENOUGH for subjects in holders.values())
    if len(holders) == 1:
        yield f"{name} has the same value everywhere: there is nothing to learn from it"
    elif rare:
        yield (
            f"{name}: {rare} of its {len(holders)} values are held by fewer than {ENOUGH} "
            "subjects: too few to learn, and `sample` will refuse them"
        )


def _holders(attribute: Attribute, known: list[tuple[str, Attributes]]) -> dict[str, set[str]]:
    """Subjects by single word."""
    holders: dict[str, set[str]] = defaultdict(set)
    for subject, row in known:
        value = row[attribute.name]
        assert value is not None
        for word in split_words(attribute, value):
            holders[word].add(subject)
    return holders
