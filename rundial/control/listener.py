"""Waiting for commands: one request that the server answers when there are any, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rundial.delivery import Refusal, StoreClient
from rundial.forks import load
from rundial.pipeline import Pipeline

WAIT_SECONDS = 10.0
"""How long a request waits for a command before it is asked anew."""
SPARE_SECONDS = 10.0
IDLE_SECONDS = 0.25
"""Between two looks whether there is a server that knows the stream."""
PAUSE_SECONDS = 0.05
"""Between two requests, so that a server which answers at once is not asked without a break."""
RETRY_SECONDS = 2.0
REFUSED_SECONDS = 60.0


def listen(
    pipeline: Pipeline, take: Callable[[list[dict[str, Any]]], None], beat: Callable[[], None], stop: threading.Event
) -> None:
    """Hand over commands as they come, until ``stop`` is set.

    Args:
        pipeline: of the stream whose dials they are for.
        take: called with the commands of one answer.
        beat: called before each request, so every ten seconds or more often.
        stop: a request under way is not interrupted; the thread must be a daemon.
    """
    address: tuple[str, str | None] | None = None
    client: StoreClient | None = None
    after = -1
    pause = 0.0
    while not stop.wait(pause):
        pause = IDLE_SECONDS
        if pipeline.worker.acknowledged == 0 or not pipeline.worker.connected:
            continue
        found = pipeline.store()
        if found is None:
            continue
        if client is None or found != address:
            if client is not None:
                client.close()
            load("urllib3", "urllib.request", "encodings.idna")
            address, client, after = found, StoreClient(*found), -1
        beat()
        asked = {"stream": pipeline.stream, "after": after, "waitMs": int(WAIT_SECONDS * 1000)}
        try:
            commands = client.call("ingest/commands", asked, WAIT_SECONDS + SPARE_SECONDS).get("commands")
        except Refusal as refusal:
            pause = RETRY_SECONDS if refusal.outcome.verdict == "retry" else REFUSED_SECONDS
            continue
        if not isinstance(commands, list):
            pause = REFUSED_SECONDS
            continue
        pause = PAUSE_SECONDS
        after = max([after, *map(_place, commands)])
        take(commands)
    if client is not None:
        client.close()


def _place(command: Any) -> int:
    place = command.get("place") if isinstance(command, dict) else None
    return place if isinstance(place, int) else -1
