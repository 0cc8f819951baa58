"""Histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from rundial.media.base import Encoded, Media, Snapshot, array_of, copied, size_of

MAX_BINS = 1024


class Histogram(Media):
    """How often values fall into each of some intervals.

    Args:
        values: array, tensor or list of any shape. NaN and infinite values are left out and counted.
        bins: how many intervals of equal width, at most 1,024, or their edges.
        range: lowest and highest value that is counted; those of the data otherwise.
        np_histogram: counts and edges instead of values, as ``numpy.histogram`` gives them.
        caption: shown below it.
        metadata: further facts.
    """

    __slots__ = ("bins", "np_histogram", "range", "values")
    kind: ClassVar[str] = "histogram"

    def __init__(
        self,
        values: Any = None,
        bins: int | Sequence[float] = 64,
        range: tuple[float, float] | None = None,
        *,
        np_histogram: tuple[Any, Any] | None = None,
        caption: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(caption, metadata)
        self.values = values
        self.bins = bins
        self.range = range
        self.np_histogram = np_histogram

    def snapshot(self) -> Snapshot:
        """A copy of the values; they are counted in the background."""
        if self.np_histogram is not None:
            counts, edges = self.np_histogram
            pair = copied(counts), copied(edges)
            return Snapshot(lambda _: _encoded(array_of(pair[0]), array_of(pair[1]), {}), sum(map(size_of, pair)))
        if self.values is None:
            raise ValueError("a histogram needs values or np_histogram")
        values, bins, limits = copied(self.values), copied(self.bins), self.range
        return Snapshot(lambda _: _counted(values, bins, limits), size_of(values))


def _counted(values: Any, bins: Any, limits: tuple[float, float] | None) -> Encoded:
    import numpy as np

    array = array_of(values).ravel()
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    finite = array[np.isfinite(array)]
    if array.dtype == np.float16:
        finite = finite.astype(np.float32)
    many = max(1, min(int(bins), MAX_BINS)) if np.ndim(bins) == 0 else array_of(bins)
    counts, edges = np.histogram(finite, many, None if limits is None else (float(limits[0]), float(limits[1])))
    facts: dict[str, Any] = {"count": int(finite.size)}
    if finite.size:
        exact = finite.astype(np.float64)
        facts |= {"min": float(exact.min()), "max": float(exact.max())}
        facts |= {"mean": float(exact.mean()), "std": float(exact.std())}
    if array.size > finite.size:
        facts["nonFinite"] = int(array.size - finite.size)
    return _encoded(counts, edges, facts)


def _encoded(counts: Any, edges: Any, facts: dict[str, Any]) -> Encoded:
    import numpy as np

    if counts.ndim != 1 or edges.ndim != 1 or edges.size != counts.size + 1 or not counts.size:
        raise ValueError(f"{counts.size} counts need {counts.size + 1} edges, not {edges.size}")
    if counts.size > MAX_BINS:
        raise ValueError(f"at most {MAX_BINS:,} intervals, not {counts.size:,}")
    if not (np.isfinite(counts).all() and np.isfinite(edges).all()) or (np.diff(edges) < 0).any():
        raise ValueError("counts and edges must be finite, and edges must grow")
    data = msgspec.json.encode({"edges": edges.astype(np.float64).tolist(), "counts": counts.tolist()})
    return Encoded(".json", "application/json", data, facts=facts)
