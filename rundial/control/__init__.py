"""Control of a running job: registered, validated, acknowledged. See ``docs/control.md``."""

from rundial.control.controller import RuntimeController

__all__ = ["RuntimeController"]
