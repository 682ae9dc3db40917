"""Dates moved by one shift per subject, so that intervals stay; ages counted before they move."""

import re
from datetime import date, timedelta

from pydicom.dataset import Dataset

from medsynth.core.keys import Keys
from medsynth.ingest.facts.vocabulary import TOP_AGE

_LEAST_DAYS, _SPAN_DAYS = 365, 3288  # one to ten years back
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_TIME = re.compile(r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?")
_DATETIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{0,6}(?:\.\d{1,6})?)([+-]\d{4})?")
_AGE = re.compile(r"(\d{3})([DWMY])")


def shift_days(keys: Keys, subject: str) -> int:
    """How many days this subject's dates move, always back; keyed, so nobody else can undo it."""
    return -(_LEAST_DAYS + int(keys.digest("shift", subject)[:12], 16) % _SPAN_DAYS)


def moved(vr: str, text: str, days: int) -> str:
    """A DA, DT or TM value moved by whole days; empty where it is not one (PS3.5 6.2).

    A time of day stays; a DT that says less than a day is moved from its first day.
    """
    text = text.strip()
    if vr == "TM":
        return text.replace(":", "") if _TIME.fullmatch(text) else ""
    match = (_DATE if vr == "DA" else _DATETIME).fullmatch(text)
    if not match:
        return ""
    year, month, day = match[1], match[2] or "01", match[3] or "01"
    try:
        there = date(int(year), int(month), int(day)) + timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    if vr == "DA":
        return there.strftime("%Y%m%d").zfill(8)
    length = 4 + len(match[2] or "") + len(match[3] or "")
    return there.strftime("%Y%m%d").zfill(8)[:length] + (match[4] or "") + (match[5] or "")


def capped_age(text: str) -> str:
    """An AS value; 089Y stands for 89 years and more. Empty where it is none."""
    match = _AGE.fullmatch(text.strip().upper())
    if not match:
        return ""
    per_year = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}[match[2]]
    return match[0] if int(match[1]) / per_year < TOP_AGE else f"{int(TOP_AGE):03d}Y"


def age_by_dates(birth: str, study: str) -> str:
    """Whole years from birth to study as an AS value; empty where either date is missing."""
    born, seen = _DATE.fullmatch(birth.strip()), _DATE.fullmatch(study.strip())
    if not born or not seen:
        return ""
    years = int(seen[1]) - int(born[1]) - (seen[2] + seen[3] < born[2] + born[3])
    return capped_age(f"{years:03d}Y") if 0 <= years < 150 else ""


def age_of(dataset: Dataset) -> str:
    """The subject's age as an AS value, stated or counted; empty where unknown."""
    stated = capped_age(str(dataset.get("PatientAge") or ""))
    birth, study = dataset.get("PatientBirthDate"), dataset.get("StudyDate")
    return stated or age_by_dates(str(birth or ""), str(study or ""))
