"""Artifacts: versions, aliases, lineage, and the uploads that make them."""

from __future__ import annotations

TABLES = ""
