"""Media: images, tables, histograms, sounds, videos, pages, figures, scenes and texts that belong to a step.

    run.log({"samples": [rd.Image(x) for x in batch], "weights": rd.Histogram(layer.weight)}, step=step)

An item keeps a reference to what it was made of. ``log()`` copies that, and nothing else; a background thread encodes
the copy and uploads it.
"""

from __future__ import annotations

from rundial.media.audio import Audio
from rundial.media.base import Media
from rundial.media.figure import Plotly
from rundial.media.histogram import Histogram
from rundial.media.image import Image
from rundial.media.log import log_media
from rundial.media.scene import Object3D
from rundial.media.table import MAX_TABLE_COLUMNS, MAX_TABLE_ROWS, Table
from rundial.media.text import Html, Text
from rundial.media.video import Video

__all__ = [
    "MAX_TABLE_COLUMNS",
    "MAX_TABLE_ROWS",
    "Audio",
    "Histogram",
    "Html",
    "Image",
    "Media",
    "Object3D",
    "Plotly",
    "Table",
    "Text",
    "Video",
    "log_media",
]
