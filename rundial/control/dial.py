"""One dial: its value, and how it is turned."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rundial import events
from rundial.control.offer import Value, shown, takes_context


class Dial:
    """One control of a run. ``value`` is what it is set to."""

    def __init__(
        self,
        event: events.Dial,
        get: Callable[[], Any] | None,
        set: Callable[..., Any] | None,
        validate: Callable[[Any], Any] | None,
    ) -> None:
        self.name = event.name
        self.kind = event.kind
        self.role = event.role
        self._event = event
        self._get = get
        self._set = set
        self._validate = validate
        self._takes_context = set is not None and takes_context(set, 0 if event.kind == "action" else 1)
        self._value = event.value
        self.retired = False
        """Whether what it turned is gone."""

    @property
    def value(self) -> Value:
        """What ``get`` says; of a dial without one, what it was last set to."""
        return self._value if self._get is None else shown(self._get())

    def read(self) -> Value:
        """The value as :attr:`value` has it, None when ``get`` raises."""
        try:
            return self.value
        except Exception:  # noqa: BLE001 - the script's own code may raise anything, and training goes on
            return None

    def check(self, value: Any) -> Any:
        """The value to apply. Raises ValueError when kind or bounds do not allow it, or what the validator raises."""
        refusal = events.refusal(self._event, value)
        if refusal is not None:
            raise ValueError(refusal)
        if self.kind == "float":
            value = float(value)
        elif self.kind == "int":
            value = int(value)
        return value if self._validate is None else self._validate(value)

    def apply(self, value: Any, context: Any) -> None:
        """Turn it. Raises what ``set`` raises."""
        if self._set is not None:
            values = () if self.kind == "action" else (value,)
            self._set(*((context, *values) if self._takes_context else values))
        self._value = shown(value)

    def retire(self) -> None:
        """Keep the value, and let go of the functions and of all that they hold."""
        self._value = self.read()
        self._get = self._set = self._validate = None
        self.retired = True

    def news(self) -> events.Dial | None:
        """What to tell of it, when its value is not what was told last."""
        value = self.read()
        if value == self._event.value and type(value) is type(self._event.value):
            return None
        self._event.value = value
        self._event.time_ns = time.time_ns()
        return self._event
