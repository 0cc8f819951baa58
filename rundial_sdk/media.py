"""The older import path of media."""

from __future__ import annotations

from rundial.media import MAX_TABLE_COLUMNS, MAX_TABLE_ROWS, Image, Table
from rundial.values import Media as MediaValue
from rundial.values import is_media as is_media_value

__all__ = ["MAX_TABLE_COLUMNS", "MAX_TABLE_ROWS", "Image", "MediaValue", "Table", "is_media_value"]
