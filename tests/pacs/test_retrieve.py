"""From a real Orthanc into the spool, by every way there is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., list[Path]]
Same = Callable[[list[Path], list[Path]], bool]
WAYS = [("web", {}), ("dimse", {}), ("dimse", {"dimse_retrieve": "move"})]
NAMES = ["QIDO and WADO", "C-FIND and C-GET", "C-FIND and C-MOVE"]


@pytest.mark.parametrize(("kind", "changes"), WAYS, ids=NAMES)
def test_what_was_sent_comes_back_byte_by_byte(
    orthanc: Any, client: Any, make_series: Make, same: Same, kind: str, changes: Any
) -> None:
    sent = [*make_series(5), *make_series(3)]
    orthanc.add(*sent)
    done = client.fetch(getattr(orthanc, kind), **changes)
    assert (done.num_series, done.num_fetched_series, done.num_instances) == (2, 2, 8)
    assert same(client.ready(), sent)


@pytest.mark.parametrize(("kind", "changes"), WAYS, ids=NAMES)
def test_a_second_run_fetches_nothing_and_a_third_only_what_is_new(
    orthanc: Any, client: Any, make_series: Make, same: Same, kind: str, changes: Any
) -> None:
    sent = make_series(4, study="1.2.3", series="1.2.3.4")
    orthanc.add(*sent)
    client.fetch(getattr(orthanc, kind), **changes)
    assert client.fetch(getattr(orthanc, kind), **changes).num_instances == 0
    late = make_series(2, first=4, study="1.2.3", series="1.2.3.4")
    orthanc.add(*late)
    assert client.fetch(getattr(orthanc, kind), **changes).num_instances == 2
    assert same(client.ready(), [*sent, *late])
