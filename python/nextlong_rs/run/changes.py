"""Describes the differences between a run and an earlier one: which setting, which input.

In: the records of both. Out: a line for a note or a message.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["of_facts", "of_stage"]

_NAMED = 3
"""Changed inputs that are named; more are counted."""

_MISSING = object()


def of_stage(before: object, after: Mapping[str, Any]) -> str:
    """Which of the things that a stage depends on changed."""
    if not isinstance(before, Mapping):
        return "its record is corrupted"
    changed = sorted(
        name
        for name in before.keys() | after.keys()
        if before.get(name, _MISSING) != after.get(name, _MISSING)
    )
    return ", ".join(_change(name, before.get(name), after.get(name)) for name in changed)


def of_facts(before: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Which settings or other facts differ from those of a finished run; empty for none."""
    names = []
    for name, value in json.loads(json.dumps(facts)).items():
        known = before.get(name)
        if known == value:
            continue
        if name == "settings" and isinstance(known, dict):
            names += [
                f"{setting} ({known.get(setting)!r}, not {value[setting]!r})"
                for setting in value
                if known.get(setting) != value[setting]
            ]
        elif name == "inputs":
            names.append(f"inputs ({_inputs(known, value)})")
        else:
            names.append(name)
    return ", ".join(names)


def _change(name: str, before: Any, after: Any) -> str:
    def short(value: Any) -> bool:
        return not isinstance(value, list | dict) and len(str(value)) <= 60

    if name == "inputs":
        return f"inputs changed ({_inputs(before, after)})"
    if name.endswith(" hash") or not (short(before) and short(after)):
        return f"{name.removesuffix(' hash')} changed"
    return f"{name} changed from {before!r} to {after!r}"


def _inputs(before: object, after: object) -> str:
    """Which inputs of two listings differ."""
    old, new = _listed(before), _listed(after)
    found = list(_differing(old, new))
    if not found:
        return "in another order"
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more


def _differing(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for name in old | new:
        if name not in new:
            yield f"{name} is gone"
        elif name not in old:
            yield f"{name} is new"
        elif old[name] != new[name]:
            same = {**old[name], "weight": None} == {**new[name], "weight": None}
            yield f"the weight of {name}" if same else f"{name} changed"


def _listed(inputs: object) -> dict[str, Any]:
    if not isinstance(inputs, list):
        return {}
    return {str(one["name"]): one for one in inputs if isinstance(one, dict) and one.get("name")}
