"""What the pixels themselves may give away: burned-in text and faces."""

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Volume
from medsynth.ingest.pixels.config import PixelChecks
from medsynth.ingest.pixels.faces import check_face
from medsynth.ingest.pixels.text import find_text


def check_pixels(
    volume: Volume,
    flags: tuple[str, ...],
    *,
    modality: str,
    config: PixelChecks,
    plane_axis: int | None = None,
) -> tuple[Volume, tuple[str, ...]]:
    """(the volume, changed only where a face was removed, its flags and those of the checks).

    `modality` is DICOM's word, `plane_axis` the RAS+ axis along which planes lie, where known.
    Refuses with `burned_in_text`, `face` or `ocr_missing`.
    """
    found = find_text(volume, config, plane_axis) if config.text == "refuse" else ""
    if found == "text":
        raise UnreadableScan("burned_in_text")
    volume, more = check_face(volume, modality=modality, config=config)
    return volume, flags + ((f"text_{found}",) if found else ()) + more
