"""What a whitening and the references it was fitted on do to each other.

Whitening by references suppresses what each of them has alone, a little; a reference that was not
fitted, as those of calibration, would so look closer to everybody than one that was. Dropping f
from M = (moments + ridge)^-1 (Sherman & Morrison, Ann. Math. Stat. 1950) mends that exactly.
"""

from jaxtyping import Float
from torch import Tensor


def directions(flat: Float[Tensor, "*batch n pixels"]) -> Float[Tensor, "*batch n pixels"]:
    """Unit vectors; what has no contrast stays near zero."""
    length: Tensor = flat.norm(dim=-1, keepdim=True).clamp_min(1e-3)
    return flat / length


def leverages(whitened: Float[Tensor, "*batch n dim"]) -> Float[Tensor, "*batch n"]:
    """How much each fitted reference weighs in its own whitening, from its whitened direction."""
    return whitened.square().sum(-1) / whitened.shape[-2]


def without_own(cosine: Tensor, leverage: Tensor) -> Tensor:
    """The cosine c of a reference f after a whitening fitted without f: c / sqrt(1 - h (1 - c^2)).

    Its leverage is h = f'Mf / n, with M fitted on n references; 0 where f was not among them.
    """
    return cosine / (1 - leverage * (1 - cosine.square())).clamp_min(1e-6).sqrt()
