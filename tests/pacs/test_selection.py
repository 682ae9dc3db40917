"""Which series are wanted, when they have settled, and what an archive may do to them."""

import datetime
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from medsynth.core.keys import DEMO_KEYS
from medsynth.ingest.pacs.config import PacsConfig
from medsynth.ingest.pacs.ledger import Ledger
from medsynth.ingest.pacs.pace import Clock
from medsynth.ingest.pacs.peer import Window
from medsynth.ingest.pacs.retrieve import window_of
from medsynth.ingest.pacs.spool import open_spool

Make = Callable[..., list[Path]]
DAY = datetime.date(2022, 3, 17)


@pytest.mark.parametrize("kind", ["web", "dimse"])
@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ({"StudyDate": "20220316"}, {"date_from": DAY}),
        ({"StudyDate": "20220318"}, {"date_to": DAY}),
        ({"Modality": "CT"}, {"modalities": ("MR", "PT")}),
        ({"SeriesDescription": "localizer"}, {"description": "flair|t1w?$"}),
    ],
    ids=["from", "to", "modality", "description"],
)
def test_only_what_is_wanted_is_fetched(
    orthanc: Any, client: Any, make_series: Make, same: Any, kind: str, tags: Any, wanted: Any
) -> None:
    good, other = make_series(1), make_series(1, **tags)
    orthanc.add(*good, *other)
    client.fetch(getattr(orthanc, kind), **wanted)
    assert same(client.ready(), good)


def test_as_many_studies_as_wanted_the_same_ones_every_time(
    orthanc: Any, client: Any, make_series: Make, same: Any
) -> None:
    days = [f"202203{day}" for day in (12, 10, 14)]
    studies = [make_series(1, StudyDate=day) for day in days]
    orthanc.add(*studies[0], *studies[2])
    client.fetch(orthanc.web, max_studies=1)
    orthanc.add(*studies[1])  # an earlier one, late
    client.fetch(orthanc.web, max_studies=1)
    assert same(client.ready(), studies[0])
    client.fetch(orthanc.web, max_studies=2)
    assert same(client.ready(), [*studies[0], *studies[1]])


def test_long_listings_come_page_by_page(
    orthanc: Any, client: Any, make_series: Make, same: Any
) -> None:
    sent = [path for _ in range(5) for path in make_series(3)]
    orthanc.add(*sent)
    client.fetch(orthanc.web, page_size=2)
    assert same(client.ready(), sent)


def test_an_archive_that_cannot_search_all_series_is_asked_by_study(
    orthanc: Any, proxy: Any, client: Any, make_series: Make, same: Any
) -> None:
    sent = make_series(2, StudyDate="20220317")
    orthanc.add(*sent, *make_series(2, StudyDate="20220310"))
    proxy.fault = lambda path: "501" if path.startswith("/dicom-web/series") else ""
    client.fetch(proxy.web, date_from=DAY)
    assert same(client.ready(), sent)


def test_the_last_days_reach_back_behind_the_latest_listing(tmp_path: Path) -> None:
    clock = Clock(lambda: datetime.datetime(2024, 5, 20, 3))
    config = PacsConfig(last_days=7, look_back_days=14)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert window_of(config, ledger, clock) == Window(datetime.date(2024, 5, 13))
    ledger.listed_on = datetime.date(2024, 5, 19)
    assert window_of(config, ledger, clock) == Window(datetime.date(2024, 5, 5))
    ledger.listed_on = datetime.date(2024, 4, 20)  # a month switched off
    assert window_of(config, ledger, clock) == Window(datetime.date(2024, 4, 6))
    ledger.close()


def test_a_series_still_arriving_is_left_alone_until_it_has_settled(
    orthanc: Any, client: Any, make_series: Make, same: Any, fake_time: Any
) -> None:
    sent = make_series(4, study="1.2.3", series="1.2.3.4")
    orthanc.add(sent[0])
    coming = iter(sent[1:])
    seen = []

    def arrive() -> None:
        seen.append(len(client.ready()) + len(client.incoming()))
        orthanc.add(*[path for path in [next(coming, None)] if path])

    fake_time.while_waiting = arrive
    rule = {"settle_polls": 2, "quiet_seconds": 20.0, "poll_seconds": 10.0, "wait_seconds": 300.0}
    done = client.fetch(orthanc.web, clock=fake_time.clock, **rule)
    assert seen == [0] * 5  # three arrivals, then two polls that saw the same
    assert (done.num_instances, done.num_unsettled) == (4, 0)
    assert same(client.ready(), sent)


def test_so_many_polls_must_see_the_same(
    orthanc: Any, client: Any, make_series: Make, fake_time: Any
) -> None:
    orthanc.add(*make_series(1))
    rule = {"settle_polls": 3, "poll_seconds": 10.0, "wait_seconds": 300.0}
    assert client.fetch(orthanc.web, clock=fake_time.clock, **rule).num_instances == 1
    assert fake_time.waits == [10.0, 10.0]


def test_what_has_not_settled_in_time_is_left_to_the_next_run(
    orthanc: Any, client: Any, make_series: Make, fake_time: Any
) -> None:
    orthanc.add(*make_series(2))
    rule = {"settle_polls": 2, "quiet_seconds": 3600.0, "wait_seconds": 60.0}
    assert client.fetch(orthanc.web, clock=fake_time.clock, **rule).num_unsettled == 1
    fake_time.time += datetime.timedelta(hours=2)
    assert client.fetch(orthanc.web, clock=fake_time.clock, **rule).num_instances == 2


def test_one_uid_with_other_bytes_is_a_conflict_and_the_first_stays(
    orthanc: Any, client: Any, make_series: Make, same: Any
) -> None:
    first = make_series(2, study="1.2.3", series="1.2.3.4")
    orthanc.add(*first)
    client.fetch(orthanc.web)
    other = make_series(1, study="1.2.3", series="1.2.3.5", SOPInstanceUID="1.2.3.4.1")
    orthanc.clear()
    orthanc.add(*other)
    assert client.fetch(orthanc.web).num_conflicts == 1
    assert client.fetch(orthanc.web).num_conflicts == 1
    assert same(client.ready(), first)


def test_bytes_that_came_twice_differ_or_not(client: Any, make_series: Make) -> None:
    (path,) = make_series(1)
    whole, uid = path.read_bytes(), str(dcmread(path).SOPInstanceUID)
    with open_spool(client.folder, DEMO_KEYS) as spool:
        key = spool.sop_key(uid)
        came = [
            spool.receive("series-a", wanted, [data], 1 << 20)[0]
            for data, wanted in (
                (whole, set()),
                (whole, {key}),
                (b"program!" * 16 + whole[128:], {key}),  # another preamble
                (whole[:-2] + b"\1\2", {key}),
            )
        ]
        assert came == ["unasked", "stored", "known", "conflict"]
        (file,) = (spool.incoming / "series-a").iterdir()
        assert file.read_bytes()[-2:] == whole[-2:]


def test_files_are_private_nameless_and_timeless(
    orthanc: Any, client: Any, make_series: Make
) -> None:
    orthanc.add(*make_series(1))
    client.fetch(orthanc.web)
    (path,) = client.ready()
    assert path.stat().st_mtime_ns == 0
    assert path.name.startswith("sop-")
    assert path.stat().st_mode & 0o077 == client.folder.stat().st_mode & 0o077 == 0
    assert dcmread(path).preamble == b"\0" * 128
    assert "SourceApplicationEntityTitle" not in dcmread(path).file_meta


@pytest.mark.parametrize("kind", ["web", "dimse"])
@pytest.mark.parametrize("syntax", [RLELossless, DeflatedExplicitVRLittleEndian])
def test_what_is_stored_compressed_comes_as_stored(
    orthanc: Any, client: Any, make_series: Make, same: Any, kind: str, syntax: str
) -> None:
    sent = make_series(2)
    for path in sent:
        dataset = dcmread(path)
        if syntax == RLELossless:
            dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path, enforce_file_format=True)
    orthanc.add(*sent)
    client.fetch(getattr(orthanc, kind))
    assert same(client.ready(), sent)


def test_what_dcmtk_and_stow_sent_is_what_comes(
    orthanc: Any, client: Any, make_series: Make
) -> None:
    from dicomweb_client import DICOMwebClient

    stored, sent, posted = make_series(2), make_series(2), make_series(2)
    place = ["-aec", "ORTHANC", "127.0.0.1", str(orthanc.dicom)]
    subprocess.run(["/usr/bin/storescu", *place, *map(str, stored)], check=True)
    subprocess.run(["/usr/bin/dcmsend", *place, *map(str, sent)], check=True)
    web = DICOMwebClient(orthanc.web.replace("dicomweb:", "http:"))
    web.store_instances([dcmread(path) for path in posted])
    client.fetch(orthanc.web)
    assert len(client.ready()) == 6
    assert _pixels(client.ready()) == _pixels([*stored, *sent, *posted])


def _pixels(files: list[Path]) -> set[tuple[str, bytes]]:
    return {(str(d.SOPInstanceUID), d.PixelData) for d in map(dcmread, files)}


def test_two_runs_do_not_share_a_spool(client: Any) -> None:
    code = (
        "import sys; from pathlib import Path; from medsynth.core.keys import DEMO_KEYS\n"
        "from medsynth.ingest.pacs.spool import open_spool\n"
        "from medsynth.ingest.pacs.problems import SpoolBusy\n"
        "try:\n    open_spool(Path(sys.argv[1]), DEMO_KEYS).__enter__()\n"
        "except SpoolBusy as busy: print(busy.code)\n"
    )
    with open_spool(client.folder, DEMO_KEYS):
        command = [sys.executable, "-c", code, str(client.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "busy\n"
