"""Several server processes on one port and one PostgreSQL database, and the parent that keeps them going."""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from socket import socket
from typing import Any

from rundial.server.app import Server, ServerSettings, create_app, prepare
from rundial.server.store import Store

RESTART_SECONDS = 1.0
STOP_SECONDS = 10.0

_log = logging.getLogger("rundial.server")


def run_workers(
    listener: socket, settings: ServerSettings, database: str, count: int, ready: Callable[[], None]
) -> None:
    """Serve with ``count`` processes until SystemExit or KeyboardInterrupt is raised here; one that ends is replaced.

    Args:
        listener: a bound socket, which all of them listen on.
        settings: of each of them.
        database: the address of a PostgreSQL database that has been migrated.
        count: how many.
        ready: called once the first of them listens.
    """
    context = multiprocessing.get_context("spawn")
    first = context.Event()

    def start() -> SpawnProcess:
        process = context.Process(target=_work, args=(listener, settings, database, first), name="rundial-worker")
        process.start()
        return process

    workers = [start() for _ in range(count)]
    try:
        while not first.wait(0.1):
            if not any(worker.is_alive() for worker in workers):
                raise RuntimeError("no server process could be started; its error stands above")
        ready()
        while True:
            wait([worker.sentinel for worker in workers])
            time.sleep(RESTART_SECONDS)
            for number, worker in enumerate(workers):
                if not worker.is_alive():
                    _log.error("server process %s ended with %s; another takes its place", worker.pid, worker.exitcode)
                    worker.close()
                    workers[number] = start()
    finally:
        _stop(workers)


def _stop(workers: list[SpawnProcess]) -> None:
    for worker in workers:
        worker.terminate()
    until = time.monotonic() + STOP_SECONDS
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))
        if worker.is_alive():
            worker.kill()
            worker.join()


def _work(listener: socket, settings: ServerSettings, database: str, first: Event) -> None:
    """What a worker does."""
    prepare(settings)
    with closing(Store(settings.data, database, settings.artifacts)) as store:
        server = Server(create_app(store, settings), first.set)
        threading.Thread(target=_follow, args=(server,), name="rundial-worker-parent", daemon=True).start()
        server.run(sockets=[listener])


def _follow(server: Any) -> None:
    """End with the parent, also when it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    server.should_exit = True
