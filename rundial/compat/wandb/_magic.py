"""``%%wandb``: a notebook cell that says where its run can be seen."""

from __future__ import annotations

import sys
from typing import Any


def register(shell: Any = None) -> None:
    """Give IPython the cell magic; nothing where there is no IPython."""
    if shell is None:
        ask = getattr(sys.modules.get("IPython"), "get_ipython", None)
        shell = None if ask is None else ask()
    if shell is not None:
        shell.register_magic_function(_cell(shell), magic_kind="line_cell", magic_name="wandb")


def _cell(shell: Any) -> Any:
    def wandb(line: str, cell: str | None = None) -> None:
        from rundial.compat import wandb as module

        if cell is not None:
            shell.run_cell(cell)
        if module.run is not None:
            module.run.display()

    return wandb
