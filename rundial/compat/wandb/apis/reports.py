"""``wandb.apis.reports``: W&B 0.31 no longer has it, and there are no reports here."""

from __future__ import annotations

from typing import NoReturn

from rundial.compat.wandb.errors import UnsupportedSymbol


def __getattr__(name: str) -> NoReturn:
    if name.startswith("__"):
        raise AttributeError(name)
    raise UnsupportedSymbol(f"wandb.apis.reports.{name}")
