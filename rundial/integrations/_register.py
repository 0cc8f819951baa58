"""Makes ``rundial`` a name that other libraries know: ``report_to="rundial"`` and ``log_with="rundial"``.

They keep their loggers in dictionaries. Ours joins when that dictionary is there: at once when the library has been
imported, else right after its import. None of them is imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from rundial.diagnostics import warn

NAME = "rundial"


def _join_transformers(utils: Any) -> None:
    """Be known to ``TrainingArguments(report_to=...)``, also by ``"all"``."""
    utils.INTEGRATION_TO_CALLBACK[NAME] = import_module("rundial.integrations.transformers").RundialCallback
    installed = utils.get_available_reporting_integrations

    def get_available_reporting_integrations() -> list[str]:
        return [*installed(), NAME]

    utils.get_available_reporting_integrations = get_available_reporting_integrations
    package = sys.modules.get("transformers.integrations")
    if package is not None:  # a name that was asked for before is kept there, too
        package.__dict__["get_available_reporting_integrations"] = get_available_reporting_integrations


def _join_accelerate(tracking: Any) -> None:
    """Be known to ``Accelerator(log_with=...)``, in versions that take others' trackers by name."""
    register = getattr(tracking, "register_tracker_class", None)
    if register is not None:
        register(import_module("rundial.integrations.accelerate").RundialTracker)


_waiting: dict[str, Callable[[Any], None]] = {
    "transformers.integrations.integration_utils": _join_transformers,
    "accelerate.tracking": _join_accelerate,
}
"""What to do when a module has been imported, and has not been done."""


class _Finder(MetaPathFinder):
    """Finds the modules that are waited for as everybody else does, and joins when they have been executed."""

    _looking = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that is waited for; None for all others."""
        if fullname not in _waiting or self._looking:
            return None
        self._looking = True
        try:
            spec = find_spec(fullname)
        finally:
            self._looking = False
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            execute = loader.exec_module

            def execute_and_join(module: ModuleType) -> None:
                execute(module)
                _join(fullname, module)

            loader.exec_module = execute_and_join
        return spec


def _join(name: str, module: ModuleType) -> None:
    then = _waiting.pop(name, None)
    if then is None:
        return
    try:
        then(module)
    except Exception as error:  # noqa: BLE001 - another version of theirs must not fail to be imported because of us
        warn(f"{name} does not know {NAME!r} by name: {type(error).__name__}: {error}")


def register() -> None:
    """Join what has been imported, and what will be. May be called again."""
    for name, then in list(_waiting.items()):
        when_imported(name, then)


def when_imported(name: str, then: Callable[[Any], None]) -> None:
    """Call ``then`` with a module: now when it has been imported, else right after its import."""
    _waiting[name] = then
    module = sys.modules.get(name)
    if module is not None:
        _join(name, module)
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
