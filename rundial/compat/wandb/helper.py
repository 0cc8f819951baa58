"""``wandb.helper``."""

from __future__ import annotations

from typing import Any

from rundial.compat.wandb._config import parsed


def parse_config(params: Any, exclude: Any = None, include: Any = None) -> dict[str, Any]:
    """Parameters in any form as a dict, without some, or with only some of its names."""
    return {
        key: value
        for key, value in parsed(params).items()
        if key not in (exclude or ()) and (include is None or key in include)
    }
