"""Which rank of a distributed job this process is."""

from __future__ import annotations

import os
import sys

from rundial.config import RANK_VARIABLE

RANK_VARIABLES = (
    RANK_VARIABLE,
    "RANK",
    "SLURM_PROCID",
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "LOCAL_RANK",
)
"""Environment variables that name the rank, the first valid one wins. LOCAL_RANK is last: it repeats on every node."""


def detect_rank(explicit: int | None = None) -> int:
    """The rank: ``explicit``, else that of ``torch.distributed``, else the launcher's environment, else 0.

    torch is asked only when the script has imported it already and initialised a process group.
    """
    if explicit is not None:
        return explicit
    torch_distributed = sys.modules.get("torch.distributed")
    if torch_distributed is not None:
        try:
            if torch_distributed.is_available() and torch_distributed.is_initialized():
                return int(torch_distributed.get_rank())
        except (AttributeError, RuntimeError, ValueError):
            pass  # half-imported or being torn down: the environment answers instead
    for variable in RANK_VARIABLES:
        text = os.environ.get(variable, "")
        if text.isdecimal():
            return int(text)
    return 0
