"""Every test has a home, a configuration and a working directory of its own, and no variable of the machine's.

A *storey* is a kind of test that needs something the machine may lack. One that cannot run is left out and named at
the end; with ``RUNDIAL_REQUIRE_ALL=1`` that is a failure.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rundial.distributed import RANK_VARIABLES
from tests.server.postgres import why_not

ROOT = Path(__file__).parent.parent


def _without_browser() -> str | None:
    if not Path("/usr/bin/chromium").exists():
        return "Chromium is not here. On Debian: apt install chromium"
    if not (ROOT / "rundial/server/static/index.html").exists():
        return "the page is not built. Install Node 20 and run: make ui"
    return None


def _without_frameworks() -> str | None:
    return None if importlib.util.find_spec("torch") else "torch is not here. Run: make test"


STOREYS: dict[str, Callable[[], str | None]] = {
    "browser": _without_browser,
    "postgres": why_not,
    "frameworks": _without_frameworks,
}
_require_all = os.environ.get("RUNDIAL_REQUIRE_ALL") == "1"
_left_out: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Isolate the whole session, for fixtures that outlive one test and are made before `isolation`."""
    for name in [name for name in os.environ if name.startswith("RUNDIAL_")] + list(RANK_VARIABLES):
        os.environ.pop(name, None)
    if getattr(config.option, "numprocesses", None):
        _left_out.update(_reasons())  # the processes that run the tests leave them out; this one tells of it
    folder = Path(tempfile.mkdtemp(prefix="rundial-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ["RUNDIAL_HOME"] = str(folder / "home")
    os.environ["RUNDIAL_CONFIG"] = str(folder / "config.toml")
    os.environ["RUNDIAL_SYSTEM_METRICS"] = "0"  # tests count records; those of system metrics switch them on
    # child processes import the checkout from whichever directory they run in
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def _reasons() -> dict[str, str]:
    """The storeys that cannot run here, and why."""
    return {storey: reason for storey, check in STOREYS.items() if (reason := check()) is not None}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the storeys that cannot run here."""
    reasons = _reasons()
    for item in items:
        for storey, reason in reasons.items():
            if item.get_closest_marker(storey):
                _left_out[storey] = reason
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _left_out and _require_all and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Name what was left out below everything else that is reported."""
    yield
    for storey, reason in _left_out.items():
        terminalreporter.write_line(
            f"LEFT OUT: the {storey} storey: {reason}", red=_require_all, yellow=not _require_all
        )


@pytest.fixture(autouse=True)
def isolation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home, a configuration and a working directory for this test alone."""
    for name in [name for name in os.environ if name.startswith("RUNDIAL_")] + list(RANK_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RUNDIAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNDIAL_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("RUNDIAL_SYSTEM_METRICS", "0")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
