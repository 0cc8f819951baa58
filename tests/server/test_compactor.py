"""How the compactor joins chunks."""

from __future__ import annotations

import pytest

from rundial.server.store.compactor import CHUNK_POINTS, SETTLED_POINTS, TEXT_CHUNK_POINTS, how_many_join


def passes(size: int, count: int, most: int) -> tuple[list[int], float]:
    """The chunks that ``count`` passes of ``size`` points leave, newest first, and how often a point was written."""
    newest: list[int] = []
    written = 0
    for _ in range(count):
        joined = how_many_join(size, newest, most)
        newest = [size + sum(newest[:joined]), *newest[joined:]]
        written += newest[0]
    return newest, written / (size * count)


@pytest.mark.parametrize("size", [1, 7, 100, 333, 1_000, 2_000, 3_000, 5_000, 7_000, 9_000, 11_000, 16_000, 30_000])
def test_chunks_fill_up_and_points_are_seldom_rewritten(size: int) -> None:
    """Passes of any size leave full chunks, few others, and have written each point a few times."""
    newest, written = passes(size, 200_000 // size, CHUNK_POINTS)
    small = [points for points in newest if points < CHUNK_POINTS / 2]
    assert max(newest) <= CHUNK_POINTS
    assert len(small) <= CHUNK_POINTS // SETTLED_POINTS + SETTLED_POINTS.bit_length()
    assert written <= SETTLED_POINTS.bit_length()


def test_chunks_of_texts_are_shorter() -> None:
    """The same rule with another length: no chunk is longer, and few are short."""
    newest, _ = passes(10, 1_000, TEXT_CHUNK_POINTS)
    assert max(newest) <= TEXT_CHUNK_POINTS
    assert len([points for points in newest if points < TEXT_CHUNK_POINTS / 2]) <= TEXT_CHUNK_POINTS.bit_length()


def test_a_full_chunk_is_left_alone() -> None:
    """Points that come behind a full chunk begin a new one."""
    assert how_many_join(100, [CHUNK_POINTS - 1_000], CHUNK_POINTS) == 0
