"""The page of an ingest: its counts, its pictures, and that it tells nobody's name."""

import ast
import io
import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import medsynth.ingest
from medsynth.core.geometry import Geometry, Volume
from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest, Provenance, Scan
from medsynth.core.schema import Attribute
from medsynth.ingest.archive import ingest
from medsynth.ingest.page.account import read_account
from medsynth.ingest.page.charts import count_words, histogram, histogram_chart
from medsynth.ingest.page.page import FILE_NAME, sample_scans
from medsynth.ingest.page.thumbnails import SIDE, draw_scan
from medsynth.ingest.quarantine import read_quarantine
from medsynth.ingest.reasons import FLAGS, LEFT_OUT, REASONS, words_of

ROOM = Path(medsynth.ingest.__file__).parent


class _Reader(HTMLParser):
    """A page as a browser reads it: rows of tables, headline counts, pictures, tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.terms: dict[str, str] = {}
        self.pictures: list[dict[str, str | None]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "img":
            self.pictures.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1] and data.strip():
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data.strip()}".strip()
        if self._inside == "dt" and data.strip():
            self._term = data.strip()
        elif self._inside == "dd" and data.strip():
            self.terms[self._term] = data.strip()

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        if tag == "tr":
            self.rows.append([])


def page_of(folder: Path) -> _Reader:
    return _Reader((folder / FILE_NAME).read_text())


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def scan_of(volume: Volume, **fields: object) -> Scan:
    affine = tuple(float(x) for x in volume.geometry.affine.ravel())
    row = {"scan_id": "scan-0", "subject_id": "s", "path": "x", "digest": "", "modality": "MR"}
    plain = {"shape": volume.geometry.spatial_shape, "affine": affine, "dtype": "uint8"}
    return Scan(**{**row, **plain, **fields})  # type: ignore[arg-type]


def marked(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    """Bright in the right, anterior, superior eighth."""
    array = np.zeros(shape, np.uint8)
    array[tuple(slice(side // 2, None) for side in shape)] = 200
    return Volume(array[None], Geometry(shape, np.diag([*spacing, 1.0])))


def test_the_counts_on_the_page_are_those_of_the_stage(phantom_manifest):
    page, refused = page_of(phantom_manifest.path), read_quarantine(phantom_manifest.path)
    assert page.terms["volumes"] == page.terms["subjects"] == page.terms["files read"] == "40"
    assert page.terms["files refused"] == str(sum(refused.values()))
    assert page.terms["files left out"] == "8"
    on_page: dict[str, int] = {}
    for row in page.rows:
        if len(row) == 3 and row[0].split()[0] in refused:
            on_page[row[0].split()[0]] = on_page.get(row[0].split()[0], 0) + int(row[2])
    assert on_page == refused
    assert ["together", "", str(sum(refused.values()))] in page.rows


def test_every_input_file_is_read_refused_or_left_out(phantoms, phantom_manifest):
    account = read_account(phantom_manifest.path)
    assert account.num_files == sum(p.is_file() for p in (phantoms / "dicom").rglob("*"))
    assert account.num_read + account.num_refused + account.num_left_out == account.num_files
    assert account.in_two_rows == 0


def test_missing_values_on_the_page_are_those_of_the_manifest(phantom_manifest):
    manifest, page = Manifest.read(phantom_manifest.path), page_of(phantom_manifest.path)
    shown = {row[0]: int(row[2]) for row in page.rows if len(row) == 7 and row[0] != "attribute"}
    wanted = {n: sum(s.attributes[n] is None for s in manifest) for n in manifest.schema.names}
    assert shown == wanted


def test_every_code_that_is_shown_is_explained(phantom_manifest):
    account = read_account(phantom_manifest.path)
    lines = [*account.refused, *account.left_out, *account.flags]
    assert len(lines) > 10
    assert all(line.words for line in lines)


@pytest.mark.parametrize(
    "name", ["broken", "phi", "bids/ivadomed_spine", "dicom/wg04_codecs", "dicom/d2n_ge_dti"]
)
def test_no_file_of_real_data_is_lost_from_sight_or_unexplained(shared, tmp_path, name):
    made = ingest(shared / "data" / name, tmp_path, DEMO_KEYS)
    account = read_account(made.path)
    assert account.in_two_rows >= 0
    lines = [*account.refused, *account.left_out, *account.flags]
    assert [line.code for line in lines if not line.words] == []
    assert page_of(made.path).terms["input files"] == f"{account.num_files:,}"


def given_reasons(call: ast.Call) -> list[str]:
    """The reasons that a call of the room's names as plain words."""
    values = [keyword.value for keyword in call.keywords if keyword.arg == "otherwise"]
    if isinstance(call.func, ast.Name) and call.func.id == "UnreadableScan":
        values += call.args
    for value in values:
        if isinstance(value, ast.IfExp):
            values += [value.body, value.orelse]
    return [str(value.value) for value in values if isinstance(value, ast.Constant)]


def test_every_reason_that_the_code_gives_is_on_the_closed_list():
    trees = [ast.parse(path.read_text()) for path in sorted(ROOM.rglob("*.py"))]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    given = {reason for call in calls for reason in given_reasons(call)}
    assert len(given) > 20
    assert given <= set(REASONS)


def test_flags_about_an_attribute_share_a_line():
    assert words_of("attribute_refused:age", FLAGS) == FLAGS["attribute_refused:"]
    assert words_of("never_heard_of", FLAGS) == ""
    assert not set(REASONS) & set(LEFT_OUT)


def test_no_identifier_of_a_hospital_is_on_the_page_or_in_its_pictures(
    hospital, tmp_path, find_leaks
):
    made = ingest(hospital / "dicom", tmp_path / "o", DEMO_KEYS, table=hospital / "clinical.csv")
    inside = tmp_path / "inside"
    inside.mkdir()
    text = (made.path / FILE_NAME).read_text()
    (inside / "page.html").write_text(text)
    for number, picture in enumerate(page_of(made.path).pictures):
        png = b64decode(str(picture["src"]).removeprefix("data:image/png;base64,"))
        (inside / f"{number}.png").write_bytes(png)
        assert set(re.findall(rb"(?:IHDR|tEXt|zTXt|iTXt|eXIf|tIME)", png)) == {b"IHDR"}
    assert len(list(inside.glob("*.png"))) == 60
    assert find_leaks(inside, hospital / "phi.json") == {}
    assert str(hospital) not in text
    assert "accession" not in text.lower()


def test_the_page_is_the_same_on_every_run(phantoms, phantom_manifest, tmp_path):
    again = ingest(phantoms / "dicom", tmp_path, DEMO_KEYS, table=phantoms / "clinical.csv")
    pages = [(made.path / FILE_NAME).read_bytes() for made in (phantom_manifest, again)]
    assert pages[0] == pages[1]
    assert again.digest == phantom_manifest.digest


def test_the_page_needs_nothing_but_itself(phantom_manifest):
    text, page = (phantom_manifest.path / FILE_NAME).read_text(), page_of(phantom_manifest.path)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert all(
        str(picture["src"]).startswith("data:image/png;base64,") for picture in page.pictures
    )
    assert not re.search(r"https?:|url\(|@import", text)
    assert "Private: shows real scans; stays here." in text


def test_pictures_and_tables_can_be_read_aloud(phantom_manifest):
    page = page_of(phantom_manifest.path)
    assert all(picture["alt"] for picture in page.pictures)
    assert all(
        attrs.get("scope") for tag, attrs in page.tags if tag == "th" and "class" not in attrs
    )
    assert all(attrs["aria-label"] for tag, attrs in page.tags if tag == "svg")


def test_an_empty_archive_still_gives_a_page(tmp_path):
    (tmp_path / "in").mkdir()
    page = page_of(ingest(tmp_path / "in", tmp_path / "out", DEMO_KEYS).path)
    assert page.terms["input files"] == page.terms["volumes"] == "0"
    assert page.pictures == []


def test_an_archive_of_which_nothing_can_be_read_still_gives_a_page(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"")
    (tmp_path / "in" / "b").write_text("no image")
    page = page_of(ingest(tmp_path / "in", tmp_path / "out", DEMO_KEYS).path)
    assert (page.terms["files refused"], page.terms["volumes"]) == ("2", "0")
    assert ["together", "", "2"] in page.rows


def test_files_that_the_table_does_not_name_are_left_out_and_lost_ones_are_no_files(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "ab":
        Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "metadata.csv").write_text("image,patient_id\na.png,P\ngone.png,Q\n")
    account = read_account(ingest(tmp_path / "in", tmp_path / "out", DEMO_KEYS).path)
    assert (account.num_files, account.num_read, account.not_found) == (2, 1, 1)
    assert [(line.code, line.count) for line in account.left_out] == [("not_listed", 1)]
    assert account.in_two_rows == 0


def test_a_repaired_volume_shows_its_observed_share(kit, tmp_path):
    planes = kit.series(20, shape=(20, 18))
    kit.save_all(planes[:7] + planes[8:], tmp_path / "in")
    page = page_of(ingest(tmp_path / "in", tmp_path / "out", DEMO_KEYS).path)
    (scan,) = Manifest.read(tmp_path / "out" / "manifest")
    row = next(row for row in page.rows if len(row) == 3 and row[2] == "95%")
    assert row[0] == scan.scan_id.removeprefix("scan-")[:8]
    assert "missing_slices" in row[1]


def test_right_is_left_and_anterior_and_superior_are_up():
    volume = marked((20, 24, 28), (1.0, 1.0, 1.0))
    picture = pixels(draw_scan(volume, scan_of(volume), orthogonal=True))
    widths = [round(side * SIDE / 28) for side in (20, 20, 24)]  # 3 pixels between planes
    left = 0
    for width in widths:
        bright = np.argwhere(picture[:, left : left + width] > 128)
        assert (bright.mean(axis=0) < np.array([len(picture), width]) / 2).all()
        left += width + 3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_middle_plane_is_the_one_that_was_acquired(axis):
    volume = marked((20, 24, 28), (1.0, 1.0, 1.0))
    scan = scan_of(volume, provenance=Provenance(("a",), axis))
    height, width = pixels(draw_scan(volume, scan, orthogonal=False)).shape
    wide, high = (side for n, side in enumerate((20, 24, 28)) if n != axis)
    assert width / height == pytest.approx(wide / high, rel=0.02)


def test_proportions_are_those_in_millimeters():
    volume = marked((20, 20, 5), (2.0, 1.0, 6.0))
    scan = scan_of(volume, provenance=Provenance(("a",), 1))
    assert pixels(draw_scan(volume, scan, orthogonal=False)).shape == (SIDE * 30 // 40, SIDE)


def test_monochrome1_is_shown_inverted():
    volume = marked((20, 20, 1), (1.0, 1.0, 1.0))
    plain = pixels(draw_scan(volume, scan_of(volume), orthogonal=False))
    inverted = pixels(draw_scan(volume, scan_of(volume, flags=("monochrome1",)), orthogonal=False))
    assert np.abs(255 - plain.astype(int) - inverted).max() <= 1


def test_a_flat_image_is_drawn():
    volume = Volume(np.full((1, 9, 8, 1), 7, np.int16), Geometry((9, 8, 1), np.eye(4)))
    assert pixels(draw_scan(volume, scan_of(volume), orthogonal=True)).max() == 0


def test_the_sample_holds_each_modality_by_its_share():
    volume = marked((4, 4, 1), (1.0, 1.0, 1.0))
    kinds = ["CT"] * 900 + ["MR"] * 90 + ["PT"]
    scans = [
        scan_of(volume, scan_id=f"scan-{n:04d}", modality=kind) for n, kind in enumerate(kinds)
    ]
    chosen = [scan.modality for scan in sample_scans(scans, 60)]
    assert len(chosen) == 60
    assert (chosen.count("CT"), chosen.count("PT")) == (53, 1)
    assert len(sample_scans(scans[:7], 60)) == 7


def test_bins_hold_every_value_and_begin_at_round_numbers(rng):
    age = Attribute("age", "continuous", "years", 18.0, 89.0)
    values = [float(x) for x in rng.integers(18, 90, 500)] + [None]
    found = histogram(age, values)
    assert sum(found.counts) == 500
    assert all(edge % 5 == 0 for edge in found.edges)
    assert "years" not in histogram_chart(found, "age")
    assert histogram(age, [None]) is None


def test_a_log_scale_and_a_single_value_have_bins():
    volume = Attribute("v", "continuous", "mm3", 0.0, 1e6, scale="log")
    assert sum(histogram(volume, [0.0, 5.0, 1e6]).counts) == 3
    one = Attribute("one", "continuous", "", 3.0, 3.0)
    assert sum(histogram(one, [3.0, 3.0]).counts) == 2


def test_labels_count_once_each_and_the_rarest_share_a_line():
    finding = Attribute("finding", "labels", values=tuple("abcdefghijklmno"))
    values = ["a|b", "a", None, *"cdefghijklmno"]
    found = dict(count_words(finding, values))
    assert (found["a"], found["b"]) == (2, 1)
    assert sum(found.values()) == 16
    assert found["all others"] == 4
