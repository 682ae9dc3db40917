"""Faces on head volumes: refused, removed or kept, by policy.

Reference: DICOM PS3.15, E.3.2 (Clean Recognizable Visual Features Option).
"""

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Volume
from medsynth.ingest.pixels.config import PixelChecks
from medsynth.ingest.pixels.face_removal import remove_face
from medsynth.ingest.pixels.head import find_head

_VOLUMETRIC = ("MR", "CT", "PT", "NM", "OT")  # modalities whose volumes show a head's surface


def check_face(
    volume: Volume, *, modality: str, config: PixelChecks
) -> tuple[Volume, tuple[str, ...]]:
    """(the volume, without its face where the policy removes it, flags that say what was done).

    Refuses with `face`, by policy or where the face is still there after its removal.
    """
    head = find_head(volume) if modality in _VOLUMETRIC else None
    if head is None or not head.has_face:
        return volume, ()
    if config.faces == "keep":
        return volume, ("face_kept",)
    if config.faces == "refuse":
        raise UnreadableScan("face")
    faceless = remove_face(volume, head)
    left = find_head(faceless) if faceless else None
    if faceless is None or left is None or left.has_face:
        raise UnreadableScan("face")
    return faceless, ("defaced",)
