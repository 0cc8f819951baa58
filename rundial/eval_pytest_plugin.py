"""Records a pytest session as a run of an evaluation suite: each test an example, with a span of its own.

pytest finds it by itself and it does nothing until it is configured, with ``--rundial-project`` or in the environment;
see ``docs/evals.md``. Nothing it does can fail a test.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest

from rundial import evals, runs, tracing
from rundial.config import resolve
from rundial.current import current_run, set_current_run
from rundial.errors import ConfigError, RundialError
from rundial.evals import EvalRun
from rundial.events import RunStart
from rundial.start import identifier
from rundial.wire import encode

SUITE_VARIABLE = "RUNDIAL_EVAL_SUITE"
EVAL_RUN_VARIABLE = "RUNDIAL_EVAL_RUN_ID"
SCORER_VARIABLE = "RUNDIAL_EVAL_SCORER"
RUN_VARIABLE = "RUNDIAL_RUN_ID"
PROJECT_VARIABLE = "RUNDIAL_PROJECT_ID"
MAX_MESSAGE = 1000
MAX_REPORT = 3000


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the plugin."""
    group = parser.getgroup("rundial", "Rundial: record the session as an eval run")
    group.addoption("--rundial-project", metavar="NAME", help="record the session in this project")
    group.addoption("--rundial-suite", metavar="NAME", help="name of the suite; default the name of the root directory")


def pytest_configure(config: pytest.Config) -> None:
    """Record the session if that is asked for, in the one process that hears of all tests."""
    asked = config.getoption("rundial_project") or config.getoption("rundial_suite")
    if not (asked or os.environ.get(SUITE_VARIABLE) or os.environ.get(EVAL_RUN_VARIABLE)):
        return
    if not config.option.collectonly and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(config), "rundial-recorder")


class Recorder:
    """Listens to one session."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._run: EvalRun | None = None
        self._scorer = os.environ.get(SCORER_VARIABLE) or "pytest"
        self._spans: dict[str, tracing.Span] = {}
        self._reports: dict[str, dict[str, pytest.TestReport]] = {}
        self._count = 0
        self._problem: str | None = None
        self._delivered = False
        self._apart = False

    def pytest_sessionstart(self) -> None:
        """Begin the eval run. A mistake in the configuration is one of usage; a server that says no is not."""
        self._apart = self._config.pluginmanager.hasplugin("dsession")
        before = current_run()
        try:
            self._run = _begin(self._config)
        except ConfigError as error:
            raise pytest.UsageError(f"rundial: {error}") from error
        except RundialError as error:
            self._problem = str(error)
        finally:
            set_current_run(before)  # the tests may well have runs of their own

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        if self._run is not None:
            span = self._run.run.trace(f"pytest:{nodeid}", attrs={"pytest.nodeid": nodeid})
            self._spans[nodeid] = span
            if not self._apart:  # spans of the test itself belong inside; workers of pytest-xdist are elsewhere
                span.__enter__()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of a test is over; of a phase that was repeated the last counts."""
        if self._run is not None and report.when is not None:
            self._reports.setdefault(report.nodeid, {})[report.when] = report

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A test is over."""
        span = self._spans.pop(nodeid, None)
        if self._run is None or span is None:
            return
        outcome, deciding, message = _outcome(self._reports.pop(nodeid, {}))
        meta = {"outcome": outcome, "pytestWhen": getattr(deciding, "when", None), "message": message}
        seconds = getattr(deciding, "duration", None)
        span.set_attrs({"pytest.outcome": outcome, "pytest.seconds": seconds})
        if outcome == "failed":
            span.set_status("error", message)
            span.event("failure", {"report": str(getattr(deciding, "longreprtext", ""))[-MAX_REPORT:]})
        if self._apart:
            span.finish()
        else:
            span.__exit__(None, None, None)
        passed = {"passed": True, "failed": False}.get(outcome)
        self._count += self._run.log_result(
            nodeid,
            scores={self._scorer: 1.0 if passed else 0.0},
            passed=passed,
            trace=span,
            meta={key: value for key, value in {**meta, "seconds": seconds}.items() if value is not None},
        )

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """End the run: failing tests are results, not a failure of the run."""
        if self._run is None:
            return
        if exitstatus == pytest.ExitCode.INTERRUPTED:
            self._delivered = self._run.abort("the session was interrupted")
        elif exitstatus == pytest.ExitCode.INTERNAL_ERROR:
            self._delivered = self._run.fail("internal error of pytest")
        else:
            self._delivered = self._run.complete()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say where the results are."""
        if self._problem is not None:
            terminalreporter.write_line(f"rundial: nothing was recorded: {self._problem}", yellow=True)
        if self._run is None:
            return
        where = self._run.run.url or "`rundial ui` shows it"
        if not self._delivered:
            where = "saved on disk; `rundial ui` or `rundial sync` sends it on"
        suite, eval_run = self._run.suite.name, self._run.eval_run_id
        terminalreporter.write_line(f"rundial: {self._count} results in {eval_run} of suite {suite}: {where}")


def _begin(config: pytest.Config) -> EvalRun:
    name = config.getoption("rundial_suite") or os.environ.get(SUITE_VARIABLE) or config.rootpath.name or "pytest"
    project = config.getoption("rundial_project") or os.environ.get(PROJECT_VARIABLE) or None
    scorer = os.environ.get(SCORER_VARIABLE) or "pytest"
    suite = evals.suite(name, scorers=[scorer], project=project, quiet=True, capture_console=False)
    eval_run_id, run_id = os.environ.get(EVAL_RUN_VARIABLE) or None, os.environ.get(RUN_VARIABLE) or None
    if run_id is None:
        return suite.run(eval_run_id=eval_run_id, system_metrics=False)
    return EvalRun(_join(run_id, suite), suite, eval_run_id or run_id)


def _join(run_id: str, suite: evals.EvalSuite) -> runs.Run:
    """A part of a run that somebody else leads and will end."""
    settings = resolve({"project": suite.project_id, "quiet": True})
    start = RunStart(0, identifier(run_id), settings.workspace, settings.project, run_id, kind="eval")
    return runs._arrive(encode(start), msgspec.structs.asdict(settings), run_id, None)


def _outcome(reports: dict[str, pytest.TestReport]) -> tuple[str, pytest.TestReport | None, str | None]:
    """How a test went, the phase that decided it, and why: a failure anywhere, then a skip, then the call."""
    for report in reports.values():
        if report.failed:
            return "failed", report, _message(report)
    for report in reports.values():
        if report.skipped:
            expected = getattr(report, "wasxfail", None)
            return ("skipped" if expected is None else "xfailed"), report, expected or _message(report)
    if "call" in reports:
        return "passed", reports["call"], None
    return "unknown", None, "the test did not run to its end"


def _message(report: pytest.TestReport) -> str:
    shown: Any = report.longrepr
    if isinstance(shown, tuple):  # of a skip: file, line, reason
        return str(shown[-1])[:MAX_MESSAGE]
    crash = getattr(getattr(shown, "reprcrash", None), "message", None)
    return str(crash or shown)[:MAX_MESSAGE]
