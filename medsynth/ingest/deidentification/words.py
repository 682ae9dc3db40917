"""The closed vocabulary: of any text of a file, only these words and forms of words may survive.

A description becomes those of its words that stand here; a name, a number or a sentence cannot
pass, since nothing that is not listed does.
"""

import re
from collections.abc import Callable
from importlib.resources import files

from medsynth.ingest.facts.vocabulary import normal_vendor


def _listed(name: str) -> frozenset[str]:
    place = files("medsynth.ingest.deidentification").joinpath(name)
    return frozenset(place.read_text().split())


VOCABULARY = _listed("vocabulary.txt")
_MODELS = _listed("models.txt")
_SHORT_TERM = re.compile(r"[A-Z]{0,3}\d{1,3}[A-Z]{0,2}")
_KERNEL = re.compile(r"[A-Za-z]{1,3}\d{1,3}[a-zA-Z]{0,2}|[A-D]|[Q]?[A-Z]{2}")
_SEQUENCE = re.compile(
    r"\*?(?:q?fl|tfl|se|tse|ep|epfid|epse|fi|fir|gre|h|hse|me|spc|spcir|swi|tir|tirB|trufi|de|fm|qfl)"
    r"(?:\d?d?\d{0,3}(?:r\d{0,2})?(?:r?_(?:\d{1,3}|ns|pc|t\d|ir|rg)){0,3}|_b\d{1,5}(?:#\d{1,3})?t?)"
)
_RESCALES = frozenset(
    ("OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT", "BQML", "normalized")
)
_NUCLEI = frozenset(("1H", "3HE", "7LI", "13C", "19F", "23NA", "31P", "129XE"))


def closed(text: str) -> str:
    """Those words of a text that the vocabulary lists, in order, at most 64 characters."""
    kept = [word for word in re.split(r"[^A-Z0-9*]+", text.upper()) if word in VOCABULARY]
    while len(" ".join(kept)) > 64:
        kept.pop()
    return " ".join(kept)


def _model(text: str) -> str:
    words = re.split(r"[^A-Z0-9]+", text.upper())
    kept = [w for w in words if w in _MODELS or _SHORT_TERM.fullmatch(w)]
    return " ".join(kept) if any(w in _MODELS for w in kept) else ""


def _vendor(text: str) -> str:
    return normal_vendor(text) if text.strip() else ""


def _kernel(text: str) -> str:
    return text if _KERNEL.fullmatch(text) else closed(text)


def _formed(form: re.Pattern[str]) -> Callable[[str], str]:
    return lambda text: text if form.fullmatch(text) else ""


def _among(listed: frozenset[str]) -> Callable[[str], str]:
    return lambda text: text if text.upper() in listed or text in listed else ""


_FORMS: dict[str, Callable[[str], str]] = {
    "Manufacturer": _vendor,
    "ManufacturerModelName": _model,
    "DetectorManufacturerName": _vendor,
    "ReceiveCoilManufacturerName": _vendor,
    "TransmitCoilManufacturerName": _vendor,
    "SecondaryCaptureDeviceManufacturer": _vendor,
    "ConvolutionKernel": _kernel,
    "SequenceName": _formed(_SEQUENCE),
    "PulseSequenceName": _formed(_SEQUENCE),
    "StackID": _formed(re.compile(r"\d{1,4}")),
    "DetectorMode": _formed(re.compile(r"\d{1,2}")),
    "RescaleType": _among(_RESCALES),
    "ModalityLUTType": _among(_RESCALES),
    "ImagedNucleus": _among(_NUCLEI),
}


def closed_form(keyword: str, text: str) -> str:
    """What may survive of a text attribute's value; empty where nothing may."""
    return _FORMS.get(keyword, closed)(text.strip())
