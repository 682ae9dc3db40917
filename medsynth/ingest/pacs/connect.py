"""From an address to an archive that can be asked."""

from collections.abc import Iterator
from contextlib import contextmanager

from medsynth.ingest.hush import hushed
from medsynth.ingest.pacs.address import Address
from medsynth.ingest.pacs.config import PacsConfig
from medsynth.ingest.pacs.credentials import Credentials
from medsynth.ingest.pacs.dicomweb import DicomWeb
from medsynth.ingest.pacs.dimse import Dimse
from medsynth.ingest.pacs.peer import Peer


@contextmanager
def connected(address: Address, credentials: Credentials, config: PacsConfig) -> Iterator[Peer]:
    """The archive at an address, given back in the end; raises UsageProblem, ArchiveRefused."""
    kind = DicomWeb if address.kind == "dicomweb" else Dimse
    with hushed():
        peer = kind(address, credentials, config)
        try:
            yield peer
        finally:
            peer.close()
