"""Realistic records for a server: noisy loss curves, as HTTP bodies of about a thousand points each.

The bodies are made with ``rundial.wire`` alone, so that the server is measured and not the SDK, and block by block, so
that the sender's memory stays flat however many points it sends.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from threading import Barrier
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np

from rundial import wire
from rundial.events import RunEnd, RunStart

BATCH_POINTS = 1_000
BEGIN_NS = 1_767_225_600_000_000_000
"""When the runs began: a fixed moment, so that two runs of the benchmark store the same bytes."""
_BLOCK = 20


class Curves(NamedTuple):
    """One run to send: ``keys`` series of ``steps`` points each."""

    run_id: str
    keys: int
    steps: int

    @property
    def points(self) -> int:
        return self.keys * self.steps

    @property
    def names(self) -> list[str]:
        return [f"train/layer_{i}/loss" for i in range(self.keys)]


def records(curves: Curves, seed: int) -> Iterator[list[bytes]]:
    """The records of a run, a batch at a time: losses that fall and jitter, times in whole milliseconds."""
    chance = np.random.default_rng(seed)
    names = curves.names
    start, floor, scale = chance.uniform(0.5, 4, (3, curves.keys))
    batch = max(1, BATCH_POINTS // curves.keys)
    now_ms = BEGIN_NS // 1_000_000
    for first in range(0, curves.steps, batch * _BLOCK):
        steps = np.arange(first, min(curves.steps, first + batch * _BLOCK))
        falling = start * np.exp(-steps[:, None] / (scale * curves.steps / 4)) + floor
        losses = (falling * chance.normal(1, 0.03, falling.shape)).tolist()
        times = (now_ms + np.cumsum(chance.integers(8, 14, len(steps)))).tolist()
        now_ms = times[-1]
        encoded = [
            wire.encode((2, time_ms * 1_000_000, step, dict(zip(names, row))))
            for time_ms, step, row in zip(times, steps.tolist(), losses)
        ]
        for at in range(0, len(encoded), batch):
            yield encoded[at : at + batch]


def bodies(curves: Curves, stream: str, seed: int) -> Iterator[tuple[bytes, int]]:
    """HTTP bodies of the whole stream, and the sequence number that the server expects after each."""
    start = RunStart(BEGIN_NS, curves.run_id, "default-workspace", "benchmark", curves.run_id, pid=os.getpid())
    yield _body(stream, 0, [wire.encode(start)])
    sequence = 1
    for batch in records(curves, seed):
        yield _body(stream, sequence, batch)
        sequence += len(batch)
    yield _body(stream, sequence, [wire.encode(RunEnd(BEGIN_NS, "completed"))])


def _body(stream: str, first: int, batch: list[bytes]) -> tuple[bytes, int]:
    """A batch in chunks that keep to the size bound of a chunk."""
    chunks: list[bytes] = []
    taken: list[bytes] = []
    size, sequence = 0, first
    for record in batch:
        if taken and size + len(record) > wire.CHUNK_BYTES:
            chunks.append(wire.pack_chunk(wire.Chunk(stream, sequence, len(taken), b"".join(taken))))
            sequence += len(taken)
            taken, size = [], 0
        taken.append(record)
        size += len(record)
    chunks.append(wire.pack_chunk(wire.Chunk(stream, sequence, len(taken), b"".join(taken))))
    return b"".join(chunks), first + len(batch)


class Connection:
    """One keep-alive connection to the server with its key. Raises RuntimeError on any answer but 200."""

    def __init__(self, url: str, key: str) -> None:
        address = urlsplit(url)
        self._http = http.client.HTTPConnection(str(address.hostname), address.port, timeout=120)
        self._headers = {"authorization": f"Bearer {key}"}

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._http.request(method, path, body, self._headers | named)
        reply = self._http.getresponse()
        content = reply.read()
        if reply.status != 200:
            reason = content[:300].decode(errors="replace")
            raise RuntimeError(f"{method} {path} was answered with {reply.status}: {reason}")
        return content

    def close(self) -> None:
        self._http.close()


def send(url: str, key: str, curves: Curves, seed: int, ready: Barrier) -> None:
    """Send a whole run over one connection, each body after the last one's acknowledgement.

    Raises RuntimeError when the server refuses a body or acknowledges something else than what was sent.
    """
    stream = f"{seed:032x}"
    connection = Connection(url, key)
    headers = {"content_type": wire.CONTENT_TYPE, "x_rundial_stream": stream, "x_rundial_protocol": "2"}
    ready.wait()
    for body, expected in bodies(curves, stream, seed):
        reply = json.loads(connection.request("POST", "/api/v1/ingest/records", body, **headers))
        if reply["next"] != expected or reply["rejected"]:
            raise RuntimeError(f"sent up to {expected}, acknowledged {reply['next']}, rejected {reply['rejected'][:3]}")
    connection.close()
