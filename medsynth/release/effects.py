"""What each attribute changes, on target and off it, as the rows of a table."""

from collections.abc import Sequence
from typing import Any

from medsynth.evaluate.effects import Effect
from medsynth.release.wording import UNKNOWN, attribute_words, interval_words, number


def effect_table(effects: Sequence[Effect]) -> dict[str, Any] | None:
    """A row for each attribute that was changed, a column for each thing that was read."""
    if not effects:
        return None
    columns = list(dict.fromkeys((e.read, e.value, e.unit) for e in effects))
    off_target = [e for e in effects if not e.is_on_target]
    return {
        "columns": [_words(*column) for column in columns],
        "rows": [
            _row([e for e in effects if e.changed == name], columns)
            for name in dict.fromkeys(e.changed for e in effects)
        ],
        "num_off_target": sum(e.low is not None for e in off_target),
        "num_astray": sum(e.is_astray for e in off_target),
    }


def _row(effects: Sequence[Effect], columns: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    found, one = {(e.read, e.value, e.unit): e for e in effects}, effects[0]
    last = attribute_words(one.changed, one.last).removeprefix(f"{one.changed} ")
    return {
        "words": f"{attribute_words(one.changed, one.first)} to {last}",
        "num_pairs": one.num_pairs,
        "cells": [_cell(found[column], _words(*column)) for column in columns],
    }


def _cell(effect: Effect, label: str) -> dict[str, Any]:
    asked = UNKNOWN if effect.asked is None else _signed(effect.asked)
    return {
        "label": label,
        "mean": _signed(effect.mean),
        "bounds": interval_words(effect.low, effect.high),
        "asked": f"asked {asked}" if effect.is_on_target else "",
        "is_astray": effect.is_astray,
    }


def _words(read: str, value: str, unit: str) -> str:
    if value:
        return f"{read} {value}"
    return f"{read}, {unit}" if unit else read


def _signed(change: float) -> str:
    return f"+{number(change)}" if change > 0 else number(change)
