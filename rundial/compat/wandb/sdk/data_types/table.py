"""Tables."""

from __future__ import annotations

from rundial.compat.wandb._table import JoinedTable, PartitionedTable, Table

__all__ = ["JoinedTable", "PartitionedTable", "Table"]
