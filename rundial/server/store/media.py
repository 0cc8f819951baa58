"""Media: what was logged at a step and is no number."""

from __future__ import annotations

TABLES = ""
