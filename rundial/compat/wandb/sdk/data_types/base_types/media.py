"""The base of media."""

from __future__ import annotations

from rundial.media.base import Media

__all__ = ["Media"]
