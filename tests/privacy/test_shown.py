import numpy as np
import pytest

from medsynth.core.geometry import Geometry, Volume
from medsynth.core.manifest import Manifest, load_arrays, store_scan
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.core.stage import Request, produce
from medsynth.core.views import STEPS, Views
from privacy.shown import show

SCHEMA = AttributeSchema((Attribute("age", "continuous", "years"),))


@pytest.fixture
def hang(tmp_path):
    """Stores volumes as views: pairs of ages, and one group of four states."""

    def store(volumes):
        def build(folder):
            scans = [
                store_scan(
                    folder,
                    Volume(volume[None], Geometry(volume.shape, np.diag([3.0, 3, 5, 1]))),
                    scan_id=f"view-{n:06d}",
                    subject_id=f"view-{n:06d}",
                    modality="MR",
                    attributes={"age": 30.0 + 40 * (n % 2)},
                )
                for n, volume in enumerate(volumes)
            ]
            Manifest(tuple(scans), SCHEMA).write(folder)
            names = [scan.scan_id for scan in scans]
            pairs = tuple(zip(names[:-4:2], names[1:-4:2], strict=True))
            Views({"age": pairs, STEPS: (tuple(names[-4:]),) if names else ()}).write(folder)

        return produce(tmp_path, Request("views", {}, {}, "test"), build)

    return store


def _show(views, screen, tmp_path):
    folder = tmp_path / "shown"
    folder.mkdir()
    show(folder, views, screen, 0, lambda count: None)
    return folder, Manifest.read(folder), Views.read(folder).sets


def test_a_view_that_copies_a_training_scan_takes_its_pair_along(
    hang, screen, phantoms, folds, tmp_path
):
    volumes = phantoms(28, seed=60)
    volumes[5] = np.clip(folds.train.volumes[3] + 0.002, 0, 1)  # a copy, not to the voxel
    views = hang(volumes)
    folder, manifest, sets = _show(views, screen, tmp_path)
    shown = load_arrays(folder, manifest)
    for forbidden in volumes[4:6]:
        assert not any(np.array_equal(forbidden, volume) for volume in shown)
    assert (12 - len(sets["age"])) % 5 == 0
    assert 2 <= len(sets["age"]) <= 7


def test_what_is_shown_is_numbered_anew_and_stays_together(hang, screen, phantoms, tmp_path):
    volumes = phantoms(28, seed=61)
    folder, manifest, sets = _show(hang(volumes), screen, tmp_path)
    ids = [name for groups in sets.values() for group in groups for name in group]
    assert ids == [f"shown-{n:06d}" for n in range(len(ids))]
    assert ids == [scan.scan_id for scan in manifest]
    assert all(len(group) == 2 for group in sets["age"])
    by_id = dict(zip(ids, load_arrays(folder, manifest), strict=True))
    for first, last in sets["age"]:
        places = [
            next(n for n, v in enumerate(volumes) if np.array_equal(v, by_id[name]))
            for name in (first, last)
        ]
        assert places[1] == places[0] + 1
        assert places[0] % 2 == 0


def test_a_state_on_the_way_that_copies_hides_the_whole_way(
    hang, screen, phantoms, folds, tmp_path
):
    volumes = phantoms(28, seed=61)
    volumes[-3] = folds.train.volumes[7]
    _, _, sets = _show(hang(volumes), screen, tmp_path)
    assert sets[STEPS] == ()


def test_nothing_names_what_was_turned_away(hang, screen, phantoms, folds, tmp_path):
    volumes = phantoms(28, seed=61)
    volumes[0] = folds.train.volumes[0]
    folder, _, _ = _show(hang(volumes), screen, tmp_path)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not any(b"view-0" in path.read_bytes() for path in files)
    assert {path.name for path in folder.iterdir()} == {"volumes", "views.json", "manifest.parquet"}


def test_an_audit_without_views_to_show_shows_none(hang, screen, phantoms, tmp_path):
    views = hang(phantoms(28, seed=61)[:0])
    _, manifest, sets = _show(views, screen, tmp_path)
    assert len(manifest) == 0
    assert not any(sets.values())
