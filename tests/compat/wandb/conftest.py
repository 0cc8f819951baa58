"""The module is driven in this process; each test begins without a run and without any ``WANDB_*`` variable."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import rundial.compat.wandb as wandb
from rundial.compat.wandb import _init
from rundial.compat.wandb._settings import Settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable, no settings, no run: before and after."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setattr(_init, "global_settings", Settings())
    yield
    while wandb.run is not None:
        wandb.run.finish()
