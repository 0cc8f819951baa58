"""The doors are driven in this process, and what they logged is read back from a real server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rundial.compat import tellurio
from rundial.finishing import open_runs
from tests.flows.conftest import ServerProcess, lasting_server, script, start_server

__all__ = ["lasting_server", "script", "start_server"]


@pytest.fixture
def server(lasting_server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> ServerProcess:
    """One server for all tests of a file, configured as the user's."""
    monkeypatch.setenv("RUNDIAL_ENDPOINT", lasting_server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", lasting_server.key)
    monkeypatch.setenv("RUNDIAL_QUIET", "1")
    return lasting_server


@pytest.fixture(autouse=True)
def no_run_left() -> Iterator[None]:
    """What a test leaves open ends with it."""
    yield
    for run in list(open_runs):
        run.finish(0)
    tellurio._active = None


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Asks until the answer is true, at most twenty seconds."""

    def ask(question: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 20
        while not (answer := question()):
            assert time.monotonic() < deadline, "it did not become true"
            time.sleep(0.1)
        return answer

    return ask
