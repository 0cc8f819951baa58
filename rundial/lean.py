"""msgspec without typing_extensions, which would be a quarter of what importing Rundial costs.

msgspec asks typing_extensions for one function, ``get_type_hints``, and only to read TypedDicts, dataclasses and the
like. While msgspec is being imported something stands in for that module which loads it at the first call.
"""

from __future__ import annotations

import sys
import threading
from types import ModuleType
from typing import Any


def _get_type_hints(*arguments: Any, **options: Any) -> dict[str, Any]:
    from typing_extensions import get_type_hints

    return get_type_hints(*arguments, **options)


def load_msgspec() -> None:
    """Import msgspec; what it finds later is what it would have found without us."""
    # Another thread could be importing typing_extensions just now, and must not meet the stand-in.
    if not {"msgspec", "typing_extensions"} & sys.modules.keys() and threading.active_count() == 1:
        stand_in = ModuleType("typing_extensions")
        stand_in.get_type_hints = _get_type_hints  # type: ignore[attr-defined]
        sys.modules["typing_extensions"] = stand_in
        try:
            import msgspec  # noqa: F401 - for what it does to sys.modules
        except ImportError:
            pass  # it wants more of that module: whoever imports msgspec next finds the real one
        finally:
            del sys.modules["typing_extensions"]


load_msgspec()
