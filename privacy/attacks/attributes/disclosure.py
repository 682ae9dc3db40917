"""All attacks on attributes at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from medsynth.core.schema import AttributeSchema
from privacy.attacks.attributes.cells import Company, Grid, company
from privacy.attacks.attributes.image_to_attribute import ReadAll, read_attributes
from privacy.attacks.attributes.inference import Inferred, infer
from privacy.attacks.attributes.risk import Tries
from privacy.attacks.attributes.singling_out import singling_out
from privacy.attacks.attributes.table import make_tables
from privacy.folds import Fold


@dataclass(frozen=True)
class Disclosure:
    """What each sort of attack gained; `None` where the cohort carries no attributes to attack.

    `company` is `None` where nobody said which cells the requests were drawn from.
    """

    num_controls: int
    singling_out: tuple[Tries, ...]
    inference: Inferred | None
    images: ReadAll | None
    company: Company | None


def disclose(
    synthetic: Fold,
    members: Fold,
    controls: Fold,
    schema: AttributeSchema,
    *,
    grids: Sequence[Grid] = (),
    k: int,
    num_tries: int,
    seed: int,
) -> Disclosure:
    """Attack members and controls with the cohort, each scan of which is a subject of its own.

    `grids` are the cells that requests were drawn from, `k` the subjects that each needs.
    """
    folds = (synthetic, members, controls)
    tables = make_tables(schema, folds)
    attacked = (tables[0], tables[1], tables[2])
    return Disclosure(
        controls.num_subjects,
        tuple(singling_out(*attacked, num_tries, seed)),
        infer(*attacked, num_tries, seed),
        read_attributes(folds, tables),
        company(synthetic.attributes, members, grids, k=k) if grids else None,
    )
