"""A run's summary: what the run amounts to, as a mapping and as a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from rundial.values import plain


class Summary(MutableMapping[str, Any]):
    """Run-level values. Use it like a dict, or call it with a mapping.

    The last value of every metric is in the run's summary without being set; what is set here wins.
    """

    def __init__(self, publish: Callable[[dict[str, Any]], bool]) -> None:
        self._values: dict[str, Any] = {}
        self._publish = publish

    def __call__(self, values: Mapping[str, Any]) -> None:
        """Merge values into the summary."""
        self.update(values)

    def update(self, values: Any = (), /, **kwargs: Any) -> None:
        """Merge values into the summary, all in one record."""
        merged = {str(key): plain(value) for key, value in dict(values, **kwargs).items()}
        self._values.update(merged)
        if merged:
            self._publish(merged)

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __delitem__(self, key: str) -> None:
        del self._values[key]
        self._publish({key: None})

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Summary({self._values})"
