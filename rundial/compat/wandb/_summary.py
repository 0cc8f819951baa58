"""``run.summary``: what was logged last, and what a script sets itself; by item and by attribute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from rundial.values import on_accelerator


class SummarySubDict(MutableMapping[str, Any]):
    """A nested mapping of the summary.

    Args:
        values: the mapping itself.
        changed: called after each change.
    """

    def __init__(self, values: dict[str, Any], changed: Callable[[], None]) -> None:
        self.__dict__.update(_values=values, _changed=changed)

    def __getitem__(self, key: str) -> Any:
        value = self.__dict__["_values"][key]
        return SummarySubDict(value, self.__dict__["_changed"]) if isinstance(value, dict) else value

    def __setitem__(self, key: str, value: Any) -> None:
        self.__dict__["_values"][key] = value
        self.__dict__["_changed"]()

    def __delitem__(self, key: str) -> None:
        del self.__dict__["_values"][key]
        self.__dict__["_changed"]()

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        return self[key]

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__["_values"])

    def __len__(self) -> int:
        return len(self.__dict__["_values"])

    def __repr__(self) -> str:
        return repr(self.__dict__["_values"])


class Summary(MutableMapping[str, Any]):
    """The summary of a run.

    Args:
        latest: the last value of each key; the run writes it.
        publish: told of what the script sets.
        facts: gives ``_step`` and the like, when it is asked.
    """

    def __init__(
        self,
        latest: dict[str, Any],
        publish: Callable[[dict[str, Any]], None],
        facts: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self.__dict__.update(_latest=latest, _publish=publish, _facts=facts)

    def __getitem__(self, key: str) -> Any:
        latest = self.__dict__["_latest"]
        if key not in latest:
            return self.__dict__["_facts"]()[key]
        value = latest[key]
        if on_accelerator(value):  # read from its device only now that somebody wants to see it
            value = latest[key] = value.item()
        if isinstance(value, dict):
            return SummarySubDict(value, lambda: self.__dict__["_publish"]({key: value}))
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        del self.__dict__["_latest"][key]
        self.__dict__["_publish"]({key: None})
        self.__dict__["_latest"].pop(key, None)

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        try:
            return self[key]
        except KeyError:
            raise AttributeKeyError(key) from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __delattr__(self, key: str) -> None:
        del self[key]

    def __iter__(self) -> Iterator[str]:
        yield from list(self.__dict__["_latest"])
        yield from (key for key in self.__dict__["_facts"]() if key not in self.__dict__["_latest"])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))

    def update(self, values: Any = (), /, **more: Any) -> None:
        """Set several values."""
        merged = {str(key): value for key, value in dict(values, **more).items()}
        if merged:
            self.__dict__["_publish"](merged)


class AttributeKeyError(KeyError, AttributeError):
    """No such key: a KeyError, as scripts catch it, and an AttributeError, so that ``hasattr`` answers."""
