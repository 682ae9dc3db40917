"""Sweeps and traces on the report's page."""

import base64
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medsynth.core.geometry import Geometry, Volume
from medsynth.core.manifest import Manifest, store_scan
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.core.views import STEPS, Views
from medsynth.evaluate.effects import Effect
from medsynth.release.charts import curve_chart
from medsynth.release.report import Report, write_report
from medsynth.release.shown import Shown

SCHEMA = AttributeSchema((Attribute("age", "continuous", "years"), Attribute("sex", "category")))
AGES = (31.0, 54.0, 77.0)


def _folder(path, rng, *, num_columns, shape=(7, 9, 1)):
    """A stage folder with an age sweep, whose ids are not in the groups' order, and a trace."""
    path.mkdir()
    ids = [f"shown-{n:06d}" for n in rng.permutation(3 * num_columns + 4)]
    columns = tuple(tuple(ids[3 * n : 3 * n + 3]) for n in range(num_columns))
    asked = dict(zip(ids, AGES * num_columns, strict=False))
    scans = [
        store_scan(
            path,
            Volume(
                np.full((1, *shape), 0.01 * asked.get(name, 10), np.float32),
                Geometry(shape, np.eye(4)),
            ),
            scan_id=name,
            subject_id=name,
            modality="MR",
            attributes={"age": asked.get(name), "sex": "F"},
        )
        for name in ids
    ]
    Manifest(tuple(scans), SCHEMA).write(path)
    Views({"age": columns, "sex": (), STEPS: (tuple(ids[-4:]),)}).write(path)
    return path


def _page(tmp_path, shown, **fields):
    write_report(
        tmp_path / "report.html", Report("Run", "2026-11-21", SCHEMA, shown=shown, **fields)
    )
    return (tmp_path / "report.html").read_text()


def _pictures(html):
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [Image.open(BytesIO(base64.b64decode(source))) for source in sources]


def test_groups_are_read_in_their_own_order(rng, tmp_path):
    found = Shown.read(_folder(tmp_path / "shown", rng, num_columns=4))
    (sweep,) = found.sweeps
    assert (sweep.name, tuple(sweep.values)) == ("age", AGES)
    assert sweep.volumes.shape == (4, 3, 7, 9, 1)
    np.testing.assert_allclose(sweep.volumes[:, :, 3, 3, 0], [np.array(AGES) / 100] * 4, rtol=1e-6)
    assert [states.shape for states in found.traces] == [(4, 7, 9, 1)]
    assert sweep.difference.largest == pytest.approx(0.46)


def test_a_page_without_views_has_no_word_of_them(tmp_path):
    html = _page(tmp_path, Shown())
    assert "What each attribute changes" not in html
    assert "From noise to scan" not in html
    assert not _pictures(html)


def test_one_column_is_shown_without_a_difference(rng, tmp_path):
    html = _page(tmp_path, Shown.read(_folder(tmp_path / "shown", rng, num_columns=1)))
    assert len(_pictures(html)) == 3 + 1
    assert "mean of" not in html


def test_a_sweep_has_a_strip_for_each_value_and_three_maps(rng, tmp_path):
    html = _page(tmp_path, Shown.read(_folder(tmp_path / "shown", rng, num_columns=5)))
    pictures = _pictures(html)
    assert [picture.mode for picture in pictures] == ["L"] * 3 + ["RGBA"] * 3 + ["L"]
    for words in ("age 31", "age 77 minus age 31, mean of 5 pairs", "at most 0.460"):
        assert words in html


def test_volumes_are_shown_as_three_planes(rng, tmp_path):
    flat = _page(tmp_path, Shown.read(_folder(tmp_path / "flat", rng, num_columns=2)))
    folder = _folder(tmp_path / "deep", rng, num_columns=2, shape=(7, 9, 5))
    deep = _page(tmp_path, Shown.read(folder))
    assert len(_pictures(deep)) == len(_pictures(flat))
    for volume, plane in zip(_pictures(deep), _pictures(flat), strict=True):
        assert volume.width > 2 * plane.width
    assert 'class="maps wide"' in deep


def test_training_is_a_curve_for_each_network(tmp_path):
    history = [{"step": 10.0 * n, "loss": 1 / n, "kl": 0.1} for n in range(1, 9)]
    history[4]["validation"] = 0.5
    history[7]["validation"] = 0.25
    html = _page(tmp_path, Shown(), histories={"autoencoder": history, "denoiser": []})
    assert html.count("<polyline") == 2
    assert "autoencoder" in html
    assert "denoiser" not in html


def test_what_training_warned_of_stands_on_the_page(tmp_path):
    words = "only 34 subjects to learn from, 100 or more are better"
    assert words in _page(tmp_path, Shown(), warnings=[words])
    assert "What is thin" not in _page(tmp_path, Shown())


def test_a_curve_falls_from_its_first_point_to_its_last():
    points = re.findall(r'class="loss" points="([^"]+)"', curve_chart(
        [{"step": 1.0, "loss": 1.0}, {"step": 2.0, "loss": 0.1}, {"step": 3.0, "loss": 0.01}]
    ))[0].split()  # fmt: skip
    (x0, y0), (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in points)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.11)
    assert y0 < y1 < y2


@pytest.mark.parametrize("history", [[], [{"step": 1.0, "epsilon": 2.0}]])
def test_nothing_told_is_no_curve(history):
    assert curve_chart(history) == ""


def _effect(changed, read, value, asked, mean, low, high):
    first, last = {"age": (31.0, 77.0), "sex": ("F", "M")}[changed]
    unit = "" if value else "years"
    return Effect(changed, first, last, read, value, unit, asked, mean, low, high, 15)


EFFECTS = [
    _effect("age", "age", "", 46.0, 38.25, 30.0, 45.0),
    _effect("age", "sex", "M", 0.0, 0.21, 0.08, 0.33),
    _effect("sex", "age", "", 0.0, -1.5, -4.0, 1.0),
    _effect("sex", "sex", "M", 1.0, 0.9, 0.8, 0.97),
]


def test_effects_are_a_table_with_what_is_astray_marked(rng, tmp_path):
    shown = Shown.read(_folder(tmp_path / "shown", rng, num_columns=5))
    html = _page(tmp_path, shown, effects=EFFECTS)
    marked = re.findall(r'<td class="num astray" data-label="([^"]+)"><b>([^<]+)', html)
    assert marked == [("sex M", "+0.210")]
    text = " ".join(re.sub("<[^>]+>", " ", html).split())
    assert "1 of 2 changes off target whose interval leaves zero out" in text
    for words in (
        "changed age, years sex M",
        "age 31 to 77 15 pairs +38.2 30.0 to 45.0 asked +46.0 +0.210 0.080 to 0.330",
        "sex F to M 15 pairs -1.500 -4.000 to 1.000 +0.900 0.800 to 0.970 asked +1.000",
    ):
        assert words in text
    assert "On target and off it" not in _page(tmp_path, shown)
