"""Put :mod:`rundial.compat.wandb` in the place of ``wandb``, so that scripts and libraries log to Rundial unchanged.

Three ways in, one effect: :func:`install`, ``RUNDIAL_COMPAT=wandb``, ``python -m rundial.compat.wandb SCRIPT``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from rundial.compat.wandb._names import MODULES
from rundial.errors import ConfigError

NAME = "wandb"
PACKAGE = "rundial.compat.wandb"
VERSION = "0.31.0"
"""The version whose behaviour this is: libraries ask for ``wandb>=0.12`` and the like."""


def install() -> ModuleType:
    """Make ``import wandb``, and all below it, mean Rundial in this process; a second call changes nothing.

    Libraries that ask for the package ``wandb`` find one, of version :data:`VERSION`.

    Returns:
        The module that ``import wandb`` gives from here on.

    Raises:
        ConfigError: the real one has been imported already; what has it would go on with it.
    """
    module = importlib.import_module(PACKAGE)
    known = sys.modules.get(NAME)
    if known is not None and known is not module:
        place = getattr(known, "__file__", None)
        where = f" from {place}" if place else ""
        raise ConfigError(
            f"wandb has been imported already{where}. Call rundial.compat.wandb.install() before anything imports it, "
            "or start the script with `python -m rundial.compat.wandb SCRIPT`."
        )
    sys.modules[NAME] = module
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
        # Who has asked for the package before and was told that there is none may ask again.
        importlib.invalidate_caches()
    return module


class _Finder(importlib.metadata.DistributionFinder):
    """Finds the modules of ``wandb`` in this package, and the distribution that they seem to come from."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of ``wandb`` or of a module below it; None for all others."""
        if fullname != NAME and not fullname.startswith(f"{NAME}."):
            return None
        first, dot, rest = fullname[len(NAME) + 1 :].partition(".")
        own = f"{PACKAGE}.{MODULES.get(first, first)}{dot}{rest}" if first else PACKAGE
        try:
            found = find_spec(own)
        except ModuleNotFoundError:
            return None
        if found is None:
            return None
        spec = ModuleSpec(fullname, _Alias(own), origin=found.origin)
        spec.submodule_search_locations = found.submodule_search_locations
        return spec

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterable[importlib.metadata.Distribution]:
        """The distribution, when it is asked for, or all are."""
        name = None if context is None else context.name
        return [_Distribution()] if name is None or name.lower() == NAME else []


class _Alias(Loader):
    """Loads a module under its own name, and gives that very object under the other one."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module of this package."""
        module = importlib.import_module(self._own)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has been executed already; the import system has only to be kept from renaming it."""
        module.__spec__ = self._spec


class _Distribution(importlib.metadata.Distribution):
    """What ``importlib.metadata`` says of ``wandb``."""

    _FILES = {
        "METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\nSummary: Rundial in its place\n",
        "top_level.txt": f"{NAME}\n",
    }

    def read_text(self, filename: str) -> str | None:
        """One file of the record."""
        return self._FILES.get(filename)

    def locate_file(self, path: object) -> Path:
        """Where a file of the distribution would lie."""
        return Path(__file__).parent / str(path)
