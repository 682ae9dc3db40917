from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Geometry, Volume
from medsynth.ingest.pixels import ocr as text_ocr
from medsynth.ingest.pixels.config import PixelChecks
from medsynth.ingest.pixels.ocr import find_program
from medsynth.ingest.pixels.text import find_text
from medsynth.ingest.pixels.text_lines import find_lines, noise_of, strokes
from medsynth.ingest.pixels.text_pictures import plane_axes

ALONE = PixelChecks(ocr="off")


def written(ground: np.ndarray, text: str, level: float, size: int = 16) -> np.ndarray:
    """A picture (rows, columns) with one line of text."""
    drawn = Image.new("L", ground.shape[::-1])
    place = (ground.shape[1] // 8, ground.shape[0] // 4)
    ImageDraw.Draw(drawn).text(place, text, fill=255, font=ImageFont.load_default(size))
    ink = np.asarray(drawn, dtype=np.float32) / 255
    return ground * (1 - ink) + level * ink


def volume_of(planes: list[np.ndarray], axis: int = 2) -> Volume:
    """Planes as a screen shows them, as a volume whose planes lie along the axis."""
    array = np.stack([p.T[::-1, ::-1] for p in planes], axis).astype(np.float32)
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 3.0
    i, j, k = array.shape
    return Volume(array[None], Geometry((i, j, k), np.diag([*spacing, 1.0])))


def noise(rng: np.random.Generator, sigma: float = 6.0) -> np.ndarray:
    return rng.normal(60, sigma, (160, 200))


@pytest.mark.parametrize("text", ["Doe^Jane 1961", "MRN 00481516", "DOB: 07.22.1943"])
def test_planted_text_is_found_without_tesseract(text: str, rng: np.random.Generator) -> None:
    for ground in (np.zeros((160, 200)), noise(rng)):
        assert find_text(volume_of([written(ground, text, 110)]), ALONE) == "text"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_text_at_one_place_of_a_moving_series_is_found(axis: int, rng: np.random.Generator) -> None:
    planes = [written(noise(rng, 12), "KAUFMAN 1943", 130) for _ in range(12)]
    assert find_text(volume_of(planes, axis), ALONE) == "text"


def test_text_in_one_plane_on_black_is_found() -> None:
    planes = [np.zeros((160, 200)) for _ in range(12)]
    planes[7] = written(planes[7], "KAUFMAN 1943", 200)
    assert find_text(volume_of(planes), ALONE) == "text"


def test_text_that_others_outshine_needs_a_look_at_every_plane() -> None:
    planes = [np.full((160, 200), 200.0 + k) for k in range(40)]
    planes[8] = written(np.full((160, 200), 60.0), "KAUFMAN 1943", 120)
    assert find_text(volume_of(planes), ALONE) != "text"
    assert find_text(volume_of(planes), PixelChecks(ocr="off", every_plane=True)) == "text"


def test_dark_text_and_text_in_any_turn_are_found() -> None:
    picture = written(np.full((160, 160), 200.0), "KAUFMAN SCOTT 03", 40)
    for turned in (picture, picture.T, picture[::-1], picture[:, ::-1]):
        assert find_text(volume_of([turned]), ALONE) == "text"


@pytest.mark.parametrize("marker", ["L", "R", "PA"])
def test_a_marker_of_side_alone_passes(marker: str, rng: np.random.Generator) -> None:
    for ground in (np.zeros((160, 200)), noise(rng)):
        assert find_text(volume_of([written(ground, marker, 150)]), PixelChecks()) != "text"


def test_blobs_and_noise_are_no_text(rng: np.random.Generator) -> None:
    rows, columns = np.mgrid[:160, :200]
    blobs = 120 + 60 * np.sin(rows / 9) * np.cos(columns / 7)
    for picture in (noise(rng, 20), blobs, np.zeros((160, 200))):
        assert find_text(volume_of([picture]), ALONE) != "text"


def test_small_planes_have_no_room_for_text(rng: np.random.Generator) -> None:
    assert find_text(volume_of([rng.normal(size=(20, 24))]), ALONE) == ""


def test_strokes_stand_out_and_blocks_do_not() -> None:
    picture = np.zeros((40, 40), dtype=np.uint8)
    picture[5:8, 5:30], picture[15:35, 10:35] = 90, 200
    ridge = strokes(picture)
    assert ridge[6, 10] == 90
    assert not ridge[15:35, 10:35].any()


def test_noise_is_told_from_edges(rng: np.random.Generator) -> None:
    picture = np.where(np.arange(256) < 128, 60, 180) + rng.normal(0, 8, (256, 256))
    assert noise_of(picture.astype(np.uint8)) == pytest.approx(8, rel=0.15)


def test_a_line_says_where_it_is() -> None:
    picture = written(np.zeros((160, 200)), "KAUFMAN 1943", 200).astype(np.uint8)
    best = max(find_lines(picture, dark=False), key=lambda line: line.score)
    ink = np.argwhere(picture > 0)
    (top, left), (bottom, right) = ink.min(axis=0), ink.max(axis=0) + 1
    assert np.abs(np.array(best.box) - [top, bottom, left, right]).max() <= 2
    assert not best.down
    assert not best.dark


def test_planes_lie_along_the_coarse_the_odd_or_the_thin_axis() -> None:
    def axes(shape: tuple[int, int, int], spacing: tuple[float, ...]) -> tuple[int, ...]:
        return plane_axes(Volume(np.zeros((1, *shape)), Geometry(shape, np.diag([*spacing, 1.0]))))

    assert axes((1, 50, 60), (1.0, 1.0, 9.0)) == (0,)
    assert axes((50, 60, 70), (1.0, 3.0, 1.0)) == (1,)
    assert axes((50, 60, 60), (1.0, 1.0, 1.0)) == (0,)
    assert axes((50, 60, 70), (1.0, 1.0, 1.0)) == (0, 1, 2)


def test_a_missing_tesseract_refuses_where_it_is_required() -> None:
    picture = volume_of([np.zeros((160, 200))])
    missing = {"ocr_program": "no-such-program"}
    assert find_text(picture, PixelChecks(**missing)) == ""
    with pytest.raises(UnreadableScan, match="ocr_missing"):
        find_text(picture, PixelChecks(ocr="require", **missing))


def test_text_is_found_where_tesseract_is_missing() -> None:
    picture = volume_of([written(np.zeros((160, 200)), "KAUFMAN 1943", 200)])
    assert find_text(picture, PixelChecks(ocr_program="no-such-program")) == "text"


@pytest.fixture
def tesseract() -> str:
    program = find_program(PixelChecks())
    if not program:
        pytest.skip("tesseract is absent (apt: tesseract-ocr)")
    return program


def test_tesseract_counts_characters_however_the_line_is_turned(tesseract: str) -> None:
    picture = written(np.zeros((160, 160)), "KAUFMAN 1943", 200).astype(np.uint8)
    for turned in (picture, np.ascontiguousarray(picture.T), picture[::-1, ::-1].copy()):
        best = max(find_lines(turned, dark=False), key=lambda line: line.score)
        assert text_ocr.count_in_line(tesseract, turned, best, PixelChecks()) >= 8
    assert text_ocr.count_in_picture(tesseract, picture, PixelChecks()) >= 8


def test_required_tesseract_reads_what_the_detector_passes(tesseract: str) -> None:
    picture = volume_of([written(np.zeros((160, 200)), "KAUFMAN 1943", 200)])
    unsure = {"certain": 0.9999999, "doubtful": 0.9999999}
    assert find_text(picture, PixelChecks(ocr="off", **unsure)) == ""
    assert find_text(picture, PixelChecks(ocr="require", **unsure)) == "text"


def test_a_doubtful_line_is_left_to_tesseract(tesseract: str) -> None:
    picture = volume_of([written(np.zeros((160, 200)), "KAUFMAN 1943", 200)])
    unsure = {"certain": 0.9999999, "doubtful": 0.5}
    assert find_text(picture, PixelChecks(**unsure)) == "text"
    assert find_text(picture, PixelChecks(ocr="off", **unsure)) == "suspected"


@pytest.mark.parametrize("limits", [{"ocr_seconds": 0.001}, {"ocr_bytes": 1 << 26}])
def test_tesseract_is_stopped_at_its_limits(tesseract: str, limits: dict[str, float]) -> None:
    picture = written(np.zeros((160, 200)), "KAUFMAN 1943", 200).astype(np.uint8)
    assert text_ocr.count_in_picture(tesseract, picture, PixelChecks(**limits)) == 0


def test_what_was_read_is_kept_nowhere(
    tesseract: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    picture = volume_of([written(np.zeros((160, 200)), "KAUFMAN 1943", 200)])
    assert find_text(picture, PixelChecks(certain=0.9999999, doubtful=0.5)) == "text"
    assert not list(tmp_path.rglob("*"))
    assert capfd.readouterr() == ("", "")
