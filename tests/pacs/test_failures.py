"""What goes wrong between us and an archive, and what becomes of it."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from medsynth.ingest.pacs.dimse import check_end
from medsynth.ingest.pacs.problems import ArchiveRefused, ArchiveUnreachable

Make = Callable[..., list[Path]]


def test_a_series_that_fails_at_first_is_tried_again_after_growing_waits(
    orthanc: Any, proxy: Any, client: Any, make_series: Make, same: Any, fake_time: Any
) -> None:
    sent = make_series(3)
    orthanc.add(*sent)
    faults = iter(["500", "cut", "503", "404"])
    proxy.fault = lambda path: next(faults, "") if path.endswith("/series/" + uid) else ""
    uid = sent[0].parent.name
    done = client.fetch(proxy.web, clock=fake_time.clock, backoff_seconds=8.0)
    assert same(client.ready(), sent)
    assert (done.num_failures, done.dead_letters) == (4, {})
    assert all(0.5 * 8 * 2**n <= wait <= 1.5 * 8 * 2**n for n, wait in enumerate(fake_time.waits))
    assert len(fake_time.waits) == 4


def test_a_series_that_never_comes_is_a_dead_letter_until_asked_for_again(
    orthanc: Any, proxy: Any, client: Any, make_series: Make, same: Any
) -> None:
    bad, good = make_series(2), make_series(2)
    orthanc.add(*bad, *good)
    is_failing = [True]
    proxy.fault = lambda path: "500" if is_failing[0] and bad[0].parent.name + "" in path else ""
    done = client.fetch(proxy.web, tries=3)
    assert done.dead_letters == {"server_error": 1}
    assert same(client.ready(), good)
    num_asked = len(proxy.asked)
    assert client.fetch(proxy.web, tries=3).num_failures == 0
    assert len(proxy.asked) == num_asked + 1  # the listing, nothing of the dead letter
    is_failing[0] = False
    assert client.fetch(proxy.web, retry_dead=True).dead_letters == {}
    assert same(client.ready(), [*bad, *good])


def test_a_dead_letter_is_asked_for_again_when_it_has_grown(
    orthanc: Any, proxy: Any, client: Any, make_series: Make, same: Any
) -> None:
    first = make_series(1, study="1.2.3", series="1.2.3.4")
    orthanc.add(*first)
    proxy.fault = lambda path: "404" if path.endswith("1.2.3.4") else ""
    assert client.fetch(proxy.web, tries=1).dead_letters == {"not_found": 1}
    proxy.fault = lambda path: ""
    late = make_series(1, first=1, study="1.2.3", series="1.2.3.4")
    orthanc.add(*late)
    assert client.fetch(proxy.web, tries=1).dead_letters == {}
    assert same(client.ready(), [*first, *late])


def test_an_archive_that_goes_down_costs_no_series_its_tries(
    orthanc: Any, proxy: Any, client: Any, make_series: Make, same: Any
) -> None:
    sent = make_series(2)
    orthanc.add(*sent)
    listed: list[str] = []

    def goes_down(path: str) -> str:
        listed.append(path)
        return "" if len(listed) == 1 else "503"

    proxy.fault = goes_down
    with pytest.raises(ArchiveUnreachable):
        client.fetch(proxy.web, tries=1)
    proxy.fault = lambda path: ""
    assert client.fetch(proxy.web, tries=1).dead_letters == {}
    assert same(client.ready(), sent)


def test_fewer_instances_than_listed_are_never_shown(
    orthanc: Any, proxy: Any, client: Any, make_series: Make, same: Any
) -> None:
    sent = make_series(3, study="1.2.3", series="1.2.3.4")
    orthanc.add(*sent)
    client.fetch(orthanc.web)
    late = make_series(2, first=3, study="1.2.3", series="1.2.3.4")
    orthanc.add(*late)
    proxy.fault = lambda path: "404" if path.endswith("/1.2.3.4.5") else ""
    assert client.fetch(proxy.web, tries=1).dead_letters == {"not_found": 1}
    assert same(client.ready(), sent)
    client.fetch(orthanc.web, retry_dead=True)
    assert same(client.ready(), [*sent, *late])


@pytest.mark.parametrize(
    ("secret", "message"), [({"token": "wrong"}, "401"), ({}, "refused our credentials")]
)
def test_a_wrong_token_is_refused_and_never_repeated(
    orthanc: Any, proxy: Any, client: Any, make_series: Make, secret: Any, message: str
) -> None:
    orthanc.add(*make_series(1))
    proxy.token = "right"
    with pytest.raises(ArchiveRefused, match=message) as refused:
        client.fetch(proxy.web, secret=secret)
    assert "wrong" not in str(refused.value)
    assert client.fetch(proxy.web, secret={"token": "right"}).num_instances == 1


@pytest.fixture
def secret(certificates: Any, secured: Any) -> dict[str, str]:
    """All that the secured archive asks for."""
    user, password = secured.login
    pair = {"certificate": certificates["client.crt"], "key": certificates["client.key"]}
    return {"user": user, "password": password, "ca": certificates["ca.crt"], **pair}


def test_tls_with_certificates_on_both_sides_and_a_user_comes_through(
    secured: Any, tls_proxy: Any, client: Any, make_series: Make, same: Any, secret: Any
) -> None:
    sent = make_series(3)
    secured.add(*sent)
    client.fetch(tls_proxy.web, secret=secret)
    assert same(client.ready(), sent)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ca": ""}, "no trust in the archive's certificate"),
        ({"certificate": "", "key": ""}, "or it wants one of ours"),
        ({"password": "guess"}, "refused our credentials .401."),
    ],
)
def test_a_wrong_certificate_or_password_is_refused(
    tls_proxy: Any, client: Any, secret: Any, changes: Any, message: str
) -> None:
    with pytest.raises(ArchiveRefused, match=message):
        client.fetch(tls_proxy.web, secret={**secret, **changes})


def test_verification_can_be_left_out_by_config_alone(
    secured: Any, tls_proxy: Any, client: Any, make_series: Make, secret: Any
) -> None:
    secured.add(*make_series(1))
    done = client.fetch(tls_proxy.web, secret={**secret, "ca": ""}, verify_tls=False)
    assert done.num_instances == 1


def test_dimse_over_tls_needs_certificates_on_both_sides(
    secured: Any, client: Any, make_series: Make, same: Any, secret: Any
) -> None:
    sent = make_series(2)
    secured.add(*sent)
    for missing in ({"ca": ""}, {"certificate": "", "key": ""}):
        with pytest.raises(ArchiveUnreachable, match="its certificate one that we trust"):
            client.fetch(secured.dimse, secret={**secret, **missing})
    client.fetch(secured.dimse, secret=secret)
    assert same(client.ready(), sent)


def test_an_archive_that_does_not_know_us_says_so(orthanc: Any, client: Any) -> None:
    wrong = orthanc.dimse.replace("ORTHANC", "NOBODY")
    with pytest.raises(ArchiveRefused, match="AE title"):
        client.fetch(wrong)


def test_a_move_to_an_unknown_destination_is_refused(
    orthanc: Any, client: Any, make_series: Make
) -> None:
    orthanc.add(*make_series(1))
    stranger = {"dimse_retrieve": "move", "secret": {"aet": "STRANGER"}}
    assert client.fetch(orthanc.dimse, tries=1, **stranger).dead_letters == {"refused": 1}
    unknown = Dataset()
    unknown.Status = 0xA801  # Orthanc breaks the association off in its place
    with pytest.raises(ArchiveRefused, match="does not know our AE title as a destination"):
        check_end([(unknown, None)])


@pytest.mark.parametrize("scheme", ["dicomweb://127.0.0.1:1/x", "dimse://A@127.0.0.1:1"])
def test_nobody_there_is_unreachable(orthanc: Any, client: Any, scheme: str) -> None:
    with pytest.raises(ArchiveUnreachable):
        client.fetch(scheme)


def test_a_web_server_that_is_no_archive_is_refused(orthanc: Any, client: Any) -> None:
    with pytest.raises(ArchiveRefused, match="no DICOMweb service"):
        client.fetch(orthanc.web.replace("dicom-web", "app"))


@pytest.mark.parametrize("kind", ["web", "dimse"])
def test_the_rate_is_kept(
    orthanc: Any, client: Any, make_series: Make, fake_time: Any, kind: str
) -> None:
    orthanc.add(*make_series(5, size=256))
    client.fetch(getattr(orthanc, kind), clock=fake_time.clock, instances_per_second=0.5)
    assert sum(fake_time.waits) == pytest.approx(8)  # four waits of 2 s between five instances


def test_the_rate_of_bytes_is_kept(
    orthanc: Any, client: Any, make_series: Make, fake_time: Any
) -> None:
    orthanc.add(*make_series(5, size=256))
    done = client.fetch(orthanc.web, clock=fake_time.clock, megabytes_per_second=0.1)
    assert sum(fake_time.waits) == pytest.approx(done.num_bytes / 1e5, rel=0.35)


@pytest.mark.parametrize(("hour", "fetched"), [(23, 1), (3, 1), (6, 0), (12, 0)])
def test_series_are_fetched_at_night_alone(
    orthanc: Any, client: Any, make_series: Make, fake_time: Any, hour: int, fetched: int
) -> None:
    orthanc.add(*make_series(1))
    fake_time.time = datetime.datetime(2024, 5, 17, hour)
    night = {"night_from": datetime.time(22), "night_to": datetime.time(6)}
    done = client.fetch(orthanc.web, clock=fake_time.clock, **night)
    assert (done.num_fetched_series, done.num_deferred) == (fetched, 1 - fetched)


def test_an_instance_that_is_too_large_is_given_up(
    orthanc: Any, client: Any, make_series: Make
) -> None:
    orthanc.add(*make_series(1, size=64))
    done = client.fetch(orthanc.web, tries=1, max_instance_bytes=4096)
    assert done.dead_letters == {"too_large": 1}
    assert not client.ready()
    assert not client.incoming()
