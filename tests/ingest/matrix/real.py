"""The real series of ../shared/data/dicom and the reference volumes that came with them."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from matrix.judge import Verdict
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

SAME_PLACE = 1e-3  # largest difference of an affine's number, mm
SCALED = 1e-5  # of the largest value: what a scale factor's digits cost; integers stay exact

Volume = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class RealSet:
    """One input: the files of a set (empty: all), the references that it must equal.

    `others` is how many volumes may come out that have no reference here; `refused` says that the
    right answer is none. `private` are the factors, one per reference, by which the reference
    differs from the standard's values: dcm2niix writes Philips' "precise" ones, which are the
    rescaled values divided by RescaleSlope x (2005,100E).
    """

    folder: str
    references: tuple[str, ...]
    files: tuple[str, ...] = ()
    others: int = 0
    refused: bool = False
    private: tuple[float, ...] = ()

    def place(self, shared: Path, scratch: Path) -> Path:
        """The folder to read: the set's own, or a copy of some of its files."""
        source = shared / "data/dicom" / self.folder / "in"
        if not self.files:
            return source
        scratch.mkdir(parents=True)
        for name in self.files:
            shutil.copy(source / name, scratch / name)
        return scratch

    def wanted(self, shared: Path, *, as_written: bool = False) -> list[Volume]:
        """The reference volumes in RAS+, in the standard's values or as they were written."""
        folder = shared / "data/dicom" / self.folder / "ref"
        factors = self.private or (1.0,) * len(self.references)
        return [
            (array if as_written else array * factor, affine)
            for name, factor in zip(self.references, factors, strict=True)
            for array, affine in canonical(folder / name)
        ]


def canonical(path: Path) -> list[Volume]:
    """The volumes of a NIfTI file, reoriented to RAS+ by permuting and flipping."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    array = np.asarray(image.dataobj)
    stack = array[..., None] if array.ndim == 3 else array
    return [(stack[..., t], image.affine) for t in range(stack.shape[3])]


def upright(array: np.ndarray, affine: np.ndarray) -> Volume:
    """Any reader's volume in RAS+; one whose affine is no geometry stays as it is."""
    if array.ndim != 3 or not abs(np.linalg.det(affine[:3, :3])) > 0:
        return array, affine
    turn = io_orientation(affine)
    return apply_orientation(array, turn), affine @ inv_ornt_aff(turn, array.shape)


def distance(found: Volume, want: Volume) -> float:
    """Largest difference of a voxel beyond the scale factor's rounding, or of the affine."""
    if found[0].shape != want[0].shape:
        return float("inf")
    moved = float(np.abs(found[1] - want[1]).max())
    truth = want[0].astype(float)
    error = np.abs(found[0].astype(float) - truth) - SCALED * np.abs(truth).max()
    worst = max(float(error.max()), moved if moved > SAME_PLACE else 0.0)
    return worst if worst > SAME_PLACE else 0.0


def differences(founds: Sequence[Volume], wants: Sequence[Volume]) -> tuple[list[float], int]:
    """(how far each reference is from the volume closest to it, volumes that are nobody's)."""
    left = [upright(*found) for found in founds]
    worst = []
    for want in wants:
        far = [distance(found, want) for found in left]
        worst.append(min(far, default=float("inf")))
        if far:
            del left[int(np.argmin(far))]
    return worst, len(left)


def compare(one: RealSet, shared: Path, founds: Sequence[Volume], refused: bool) -> Verdict:
    """The word for a reader's volumes of one set."""
    if one.refused:
        return Verdict("read" if founds else "right")
    if not founds:
        return Verdict("refused" if refused else "nothing")
    answers = [differences(founds, one.wanted(shared, as_written=raw)) for raw in (False, True)]
    worst, left = min(answers, key=lambda answer: max(answer[0]))
    if len(founds) < len(worst):
        return Verdict(
            "partial" if sum(w == 0 for w in worst) >= len(founds) else "wrong", max(worst)
        )
    if max(worst) > 0:
        return Verdict("wrong", max(worst))
    return Verdict("right" if left <= one.others else "right+wrong", 0.0)


_ORIENT = {"ax": "ax_asc_35sl_6", "cor": "cor_asc_35sl_16", "sag": "sag_asc_35sl_22"}
SETS: dict[str, RealSet] = {
    **{
        f"transfer_syntaxes {n}": RealSet("transfer_syntaxes", (f"{n}.nii.gz",), (f"{n}.dcm",))
        for n in (1, 4, 6, 7)
    },
    "bits12_unsigned": RealSet("bits12_unsigned", ("3.nii.gz",), others=1),
    "siemens_mosaic_AP": RealSet("siemens_mosaic_AP", ("EPI_PE=AP_3.nii.gz",)),
    **{
        f"siemens_orient_{name}asc35": RealSet(
            f"siemens_orient_{name}asc35", (f"{reference}.nii.gz",), others=2 * (name == "ax")
        )
        for name, reference in _ORIENT.items()
    },
    "siemens_xa10_enhanced": RealSet(
        "siemens_xa10_enhanced", ("Siemens_REST1_w_SMS_PF7-8_6.nii.gz",)
    ),
    "siemens_xa30_fieldmap": RealSet(
        "siemens_xa30_fieldmap", ("8_gre_field_mapping_e1.nii.gz", "8_gre_field_mapping_e2.nii.gz")
    ),
    "siemens_xa30_enhanced_dwi11": RealSet(
        "siemens_xa30_enhanced_dwi11", ("11_DWI_dir80_PA.nii.gz",)
    ),
    "philips_classic_epi": RealSet(
        "philips_classic_epi",
        ("EPI_asc_CLEAR_201.nii.gz",),
        private=(1.29035409035409 * 0.004284040071070194,),
    ),
    "philips_enhanced_fieldmap": RealSet(
        "philips_enhanced_fieldmap",
        ("Philips_WIP_B0_NS_801_e1.nii.gz", "Philips_WIP_B0_NS_801_e2_fieldmaphz.nii.gz"),
        private=(1.27985347985347 * 8.448640073766e-06, 0.24420024420024 * 4.095000267028809),
    ),
    "ge_mr_epi_stc": RealSet("ge_mr_epi_stc", ("GE_DCM2NIIX_regression_test_4.nii.gz",)),
    **{
        name: RealSet(name, ("001_ground_truth.nii.gz",))
        for name in (
            "d2n_philips_enhanced_fmri",
            "d2n_ge_anat",
            "d2n_ge_dti",
            "d2n_compressed_j2k",
            "d2n_compressed_rle",
            "d2n_hitachi",
            "d2n_hyperfine",
        )
    },
    "d2n_generic_rgb": RealSet("d2n_generic_rgb", (), refused=True),
}
