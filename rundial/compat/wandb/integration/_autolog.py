"""What ``autolog`` of several libraries is: a call that begins a run and patches methods, until ``disable``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rundial.compat import wandb

Place = tuple[type, str, str]
"""A class, the name of a method it has, and what to call it."""


class Autolog:
    """``autolog({"project": ...})`` starts; ``autolog.disable()`` undoes it.

    Args:
        places: the methods to patch, found anew each time.
        wrap: makes the method that stands in the place of another, from that one and its label.
    """

    def __init__(self, places: Callable[[], Iterable[Place]], wrap: Callable[[Any, str], Any]) -> None:
        self._places = places
        self._wrap = wrap
        self._former: list[tuple[type, str, Any]] = []
        self._began = False

    def __call__(self, init: Mapping[str, Any] | None = None) -> None:
        """The same as :meth:`enable`."""
        self.enable(init)

    def enable(self, init: Mapping[str, Any] | None = None) -> None:
        """Begin a run unless there is one, and log from here on. A second time begins anew.

        Args:
            init: arguments of ``wandb.init``.

        Raises:
            ImportError: the library is not installed.
        """
        self.disable()
        places = list(self._places())
        if wandb.run is None:
            wandb.init(**(init or {}))
            self._began = True
        for owner, name, label in places:
            former = owner.__dict__[name]
            self._former.append((owner, name, former))
            setattr(owner, name, self._wrap(former, label))

    def disable(self) -> None:
        """Log no longer; a run that was begun here ends."""
        while self._former:
            owner, name, former = self._former.pop()
            setattr(owner, name, former)
        if self._began and wandb.run is not None:
            wandb.run.finish()
        self._began = False
