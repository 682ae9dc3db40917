"""The training fold of a prepared folder: the only scans that any optimizer or statistic sees."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from medsynth.core.errors import TooFewSubjects
from medsynth.core.geometry import Geometry
from medsynth.core.manifest import Manifest, Scan, load_arrays
from medsynth.core.masks import load_masks
from medsynth.core.schema import Attributes, AttributeSchema
from medsynth.core.stage import Artifact
from medsynth.models.masks import Masks
from medsynth.prepare.validation import inner_validation

MIN_SUBJECTS = 10


@dataclass(frozen=True, eq=False)
class TrainingFold:
    """Scans of fold `train`, their voxels in [0, 1], which of them only validate, and masks."""

    scans: tuple[Scan, ...]
    volumes: Float[np.ndarray, "n i j k"]
    is_validation: Bool[np.ndarray, " n"]
    schema: AttributeSchema
    masks: Masks = field(default_factory=dict)

    @property
    def attributes(self) -> list[Attributes]:
        """What is recorded of each scan."""
        return [scan.attributes for scan in self.scans]

    @property
    def subjects(self) -> list[str]:
        """Whose scan each is."""
        return [scan.subject_id for scan in self.scans]

    @property
    def modality(self) -> str:
        """The most frequent one."""
        return Counter(scan.modality for scan in self.scans).most_common(1)[0][0]

    @property
    def spatial_shape(self) -> tuple[int, int, int]:
        """The shape all scans share."""
        i, j, k = self.volumes.shape[1:]
        return i, j, k

    @property
    def geometry(self) -> Geometry:
        """The common affine, or the median spacing around the scanner's center: nobody's own."""
        affines = np.array([scan.affine for scan in self.scans])
        if np.allclose(affines, affines[0], atol=1e-4):
            return self.scans[0].geometry
        spacing = np.median([scan.geometry.spacing for scan in self.scans], axis=0)
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = -spacing * (np.array(self.spatial_shape) - 1) / 2
        return Geometry(self.spatial_shape, affine)


def read_training_fold(prepared: Artifact) -> TrainingFold:
    """The training fold of a prepared stage; raises TooFewSubjects below ten subjects."""
    manifest = Manifest.read(prepared.path)
    train = manifest.fold("train")
    if len(train.subjects) < MIN_SUBJECTS:
        raise TooFewSubjects(
            f"training needs at least {MIN_SUBJECTS} subjects in fold train, "
            f"got {len(train.subjects)}"
        )
    validation = inner_validation(train.subjects)
    volumes = load_arrays(prepared.path, train).astype(np.float32, copy=False)
    is_validation = np.array([scan.subject_id in validation for scan in train])
    masks = load_masks(prepared.path, manifest.schema, (scan.attributes for scan in train))
    return TrainingFold(train.scans, volumes, is_validation, manifest.schema, masks)
