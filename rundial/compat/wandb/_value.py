"""The base of everything that ``wandb.log`` shows as more than a number."""

from __future__ import annotations

from typing import Any


class WBValue:
    """Media of W&B's names; libraries ask ``isinstance(value, WBValue)``."""

    __slots__ = ()

    def to_json(self, run_or_artifact: Any = None) -> dict[str, Any]:
        """What is known of it without its content."""
        return {"_type": getattr(self, "kind", type(self).__name__.lower())}
