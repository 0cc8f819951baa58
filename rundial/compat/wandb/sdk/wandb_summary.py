"""The class of a summary."""

from __future__ import annotations

from rundial.compat.wandb._summary import Summary, SummarySubDict

__all__ = ["Summary", "SummarySubDict"]
