"""What ``Api().runs(filters=..., order=...)`` means, for runs as our server describes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

STATES = {"completed": "finished", "aborted": "killed"}
"""Our words for the end of a run, and W&B's; the others are the same."""
_MISSING: Any = object()
_FIELDS = {
    "display_name": "runName",
    "displayName": "runName",
    "name": "runId",
    "id": "runId",
    "group": "group",
    "jobType": "jobType",
    "job_type": "jobType",
    "notes": "notes",
    "tags": "tags",
    "project": "projectSlug",
}


def iso(milliseconds: Any) -> str:
    """Unix milliseconds as ISO 8601 in UTC; an empty text for None."""
    if milliseconds is None:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def state_of(run: Mapping[str, Any]) -> str:
    """``running``, ``finished``, ``failed``, ``crashed`` or ``killed``."""
    return STATES.get(run["status"], str(run["status"]))


def value_of(run: Mapping[str, Any], key: str) -> Any:
    """What a run has under a key of a filter; a marker object when it has nothing."""
    if key in _FIELDS:
        return run.get(_FIELDS[key])
    if key == "state":
        return state_of(run)
    if key in ("created_at", "createdAt"):
        return iso(run.get("startedAtMs"))
    if key in ("heartbeat_at", "heartbeatAt", "updated_at", "updatedAt"):
        return iso(run.get("updatedAtMs"))
    if key == "duration":
        return ((run.get("finishedAtMs") or run["updatedAtMs"]) - run["startedAtMs"]) / 1000
    if key == "sweep":
        return run["config"].get("_wandb", {}).get("sweep", _MISSING)
    root, _, rest = key.partition(".")
    if root == "config":
        return _inside(run["config"], rest.removesuffix(".value"))
    if root in ("summary", "summary_metrics", "summaryMetrics"):
        return _inside(run["summary"], rest)
    raise ValueError(f"runs cannot be filtered or ordered by {key!r}.")


def _inside(values: Any, path: str) -> Any:
    """A value by its key, or by keys joined with dots."""
    if isinstance(values, Mapping):
        if path in values:
            return values[path]
        for end in range(len(path) - 1, 0, -1):
            if path[end] == "." and path[:end] in values:
                return _inside(values[path[:end]], path[end + 1 :])
    return _MISSING


def matches(run: Mapping[str, Any], filters: Mapping[str, Any] | None) -> bool:
    """Whether a run is what a filter in MongoDB's language asks for.

    Raises:
        ValueError: a key or an operator that is not known here.
    """
    for key, condition in (filters or {}).items():
        if key == "$and":
            fits = all(matches(run, part) for part in condition)
        elif key == "$or":
            fits = any(matches(run, part) for part in condition)
        elif key == "$nor":
            fits = not any(matches(run, part) for part in condition)
        elif key == "$not":
            fits = not matches(run, condition)
        elif key in ("username", "user", "entity"):
            fits = True  # a store of one's own knows no others
        else:
            fits = _meets(value_of(run, key), condition)
        if not fits:
            return False
    return True


def _meets(value: Any, condition: Any) -> bool:
    if isinstance(condition, Mapping) and any(str(name).startswith("$") for name in condition):
        return all(_operate(name, value, wanted) for name, wanted in condition.items() if name != "$options")
    return _equal(value, condition)


def _equal(value: Any, wanted: Any) -> bool:
    if value is _MISSING:
        return wanted is None
    if isinstance(value, list) and not isinstance(wanted, list):
        return wanted in value
    return bool(value == wanted)


def _compared(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def operate(value: Any, wanted: Any) -> bool:
        if value is _MISSING or value is None or isinstance(value, str) != isinstance(wanted, str):
            return False
        try:
            return compare(value, wanted)
        except TypeError:
            return False  # a text is neither more nor less than a number

    return operate


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$ne": lambda value, wanted: not _equal(value, wanted),
    "$gt": _compared(lambda value, wanted: value > wanted),
    "$gte": _compared(lambda value, wanted: value >= wanted),
    "$lt": _compared(lambda value, wanted: value < wanted),
    "$lte": _compared(lambda value, wanted: value <= wanted),
    "$in": lambda value, wanted: any(_equal(value, item) for item in wanted),
    "$nin": lambda value, wanted: not any(_equal(value, item) for item in wanted),
    "$exists": lambda value, wanted: (value is not _MISSING and value is not None) == bool(wanted),
    "$regex": lambda value, wanted: isinstance(value, str) and re.search(wanted, value) is not None,
    "$not": lambda value, wanted: not _meets(value, wanted),
}


def _operate(name: str, value: Any, wanted: Any) -> bool:
    operator = _OPERATORS.get(name)
    if operator is None:
        raise ValueError(f"the operator {name} is not known in filters.")
    return operator(value, wanted)


def ordered(runs: list[dict[str, Any]], order: str | None) -> list[dict[str, Any]]:
    """Runs in the order that is asked for: a key with ``-`` or ``+`` before it. Those without a value come last."""
    descending = (order or "+created_at").startswith("-")
    key = (order or "+created_at").lstrip("+-")
    with_value: list[tuple[Any, dict[str, Any]]] = []
    without: list[dict[str, Any]] = []
    for run in runs:
        value = run["startedAtMs"] if key in ("created_at", "createdAt") else value_of(run, key)
        if value is _MISSING or value is None or isinstance(value, (dict, list)):
            without.append(run)
        else:
            with_value.append(((isinstance(value, str), value), run))
    with_value.sort(key=lambda pair: pair[0], reverse=descending)
    return [run for _, run in with_value] + without
