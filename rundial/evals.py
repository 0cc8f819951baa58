"""Evaluations: a suite of examples and scorers, and its runs. ``rundial.eval`` is the :data:`eval` of this file.

A suite is only a name until its first run: nothing is asked of a server, so evaluations work without one, too.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rundial import runs
from rundial.config import Mode
from rundial.current import current_run, set_current_run
from rundial.errors import ConfigError
from rundial.eval_results import current_trace, results_of, send
from rundial.events import EvalStart, RunUpdate, clean_key
from rundial.names import new_run_id
from rundial.runs import Run
from rundial.values import plain, redacted
from rundial.wire import encode

MAX_NAME = 200
MAX_CONFIG_BYTES = 64 * 1024
"""Configuration that is kept with the results, too."""


class EvalSuite:
    """A suite, made by :func:`suite`: what is evaluated on, and by whom."""

    def __init__(
        self,
        name: str,
        dataset: dict[str, Any],
        scorers: list[dict[str, Any]],
        suite_id: str | None,
        options: dict[str, Any],
    ) -> None:
        self.name = name
        self.dataset = dataset
        self.scorers = scorers
        self.suite_id = suite_id or f"evs_{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        """The id it gets with its first run, unless the server knows one of this name."""
        self.project_id: str | None = options.get("project")
        self.org_id: str | None = None
        self._options = options

    @property
    def suite(self) -> dict[str, Any]:
        """All of it as one mapping."""
        return {"suiteId": self.suite_id, "name": self.name, "dataset": self.dataset, "scorers": self.scorers}

    def run(
        self,
        *,
        config: Mapping[str, Any] | object | None = None,
        run_id: str | None = None,
        eval_run_id: str | None = None,
        name: str | None = None,
        **options: Any,
    ) -> EvalRun:
        """Begin a run of the suite: a run of kind ``eval``, which does not take the place of a current one.

        Args:
            config: what is evaluated: model, prompt, temperature.
            run_id: your own id; a run that has it and is not over is continued.
            eval_run_id: your own id for the results, to go on with or to share among processes.
            name: display name.
            options: further arguments of :func:`rundial.init`.

        Raises:
            ConfigError, RequestError: as :func:`rundial.init`.
        """
        own_id = f"evr_{new_run_id()[4:]}" if eval_run_id is None else _identifier(eval_run_id)
        arguments = {"group": self.name, "resume": "never" if run_id is None else "allow", **self._options, **options}
        before = current_run()
        run = runs.init(kind="eval", config=config, run_id=run_id, name=name, **arguments)
        if before is not None:
            set_current_run(before)  # what a training logs goes on into its own run
        return EvalRun(run, self, own_id)

    def __repr__(self) -> str:
        return f"<EvalSuite {self.name}>"


class EvalRun:
    """A run of a suite, made by :meth:`EvalSuite.run`; as a context manager it ends like the :attr:`run` behind it."""

    def __init__(self, run: Run, suite: EvalSuite, eval_run_id: str) -> None:
        self.run = run
        self.suite = suite
        self.eval_run_id = eval_run_id
        self._tallies: dict[str, dict[str, tuple[float, bool | None]]] = {}
        pipeline = run._writable()
        if pipeline is not None:
            config = run.config if len(encode(run.config)) <= MAX_CONFIG_BYTES else {}  # the run itself has it whole
            start = EvalStart(
                time.time_ns(), eval_run_id, suite.name, suite.dataset, suite.scorers, config, suite.suite_id
            )
            pipeline.emit(start)
            run._sources.append(lambda seconds: self._report())

    @property
    def run_id(self) -> str:
        """The id of the run behind it."""
        return self.run.id

    def log_result(
        self,
        example_id: str,
        *,
        scores: Mapping[str, Any],
        passed: Any = None,
        trace: Any = None,
        evidence: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Log what scorers said of one example. Takes microseconds and never raises; the last one counts.

        Args:
            example_id: a name that is the same in every run, by which runs are compared.
            scores: by scorer: a finite number, a bool, or ``{"score": ..., "passed": ..., "meta": {...}}``.
            passed: one bool for all scorers or a mapping of them; left out, a bool score is its own verdict and a
                number has none.
            trace: a span or a trace id; left out, that of the span around the call.
            evidence: ``{"artifactId": ..., "path": ...}`` of a file that shows it.
            meta: what else to know, at most 8 KiB.

        Returns:
            False when a score was refused or had no room; that is counted, see :meth:`Run.diagnostics`.
        """
        run = self.run
        pipeline = run._writable()
        if pipeline is None and run.status != "running":
            return False
        if trace is None and pipeline is not None:
            trace = current_trace(pipeline)
        results, whole = results_of(run._counters, self.eval_run_id, example_id, scores, passed, trace, evidence, meta)
        sent = len(results) if pipeline is None else send(pipeline, results)
        for result in results:
            self._tallies.setdefault(result.scorer, {})[result.example_id] = (result.score, result.passed)
        return whole and sent == len(results)

    @property
    def summary(self) -> dict[str, dict[str, float | int | None]]:
        """What this process logged so far, by scorer: ``count``, ``mean``, ``pass_rate`` of those with a verdict."""
        return {scorer: _tally(list(found.values())) for scorer, found in list(self._tallies.items())}

    def flush(self, timeout_seconds: float | None = None) -> bool:
        """Wait until a server has everything; see :meth:`Run.flush`."""
        return self.run.flush(timeout_seconds)

    def finish(self, timeout_seconds: float | None = None) -> bool:
        """End the run as completed; see :meth:`Run.finish`."""
        return self.run.finish(timeout_seconds)

    def close(self, timeout_seconds: float | None = None) -> bool:
        """The same as :meth:`finish`."""
        return self.run.finish(timeout_seconds)

    def complete(self, reason: str | None = None, timeout_seconds: float | None = None) -> bool:
        """End the run as completed."""
        return self.run.complete(reason, timeout_seconds)

    def fail(self, reason: str | None = None, timeout_seconds: float | None = None) -> bool:
        """End the run as failed."""
        return self.run.fail(reason, timeout_seconds)

    def abort(self, reason: str | None = None, timeout_seconds: float | None = None) -> bool:
        """End the run as aborted."""
        return self.run.abort(reason, timeout_seconds)

    def __enter__(self) -> EvalRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<EvalRun {self.eval_run_id} of {self.suite.name}>"

    def _report(self) -> None:
        """The run ends: its summary gets what the scores amount to."""
        pipeline = self.run._opened
        values = {
            f"eval/{scorer}/{name}": value
            for scorer, tally in self.summary.items()
            for name, value in tally.items()
            if value is not None
        }
        if pipeline is not None and values:
            self.run.summary._values.update(values)
            pipeline.emit(RunUpdate(time.time_ns(), summary=values))


def suite(
    name: str,
    *,
    dataset: str | Mapping[str, Any] | None = None,
    scorers: Sequence[str | Mapping[str, Any]] = (),
    workspace: str | None = None,
    project: str | None = None,
    org_id: str | None = None,
    project_id: str | None = None,
    endpoint: str | None = None,
    api_key: str | None = None,
    suite_id: str | None = None,
    dataset_name: str | None = None,
    dataset_version: str | None = None,
    mode: Mode | None = None,
    **options: Any,
) -> EvalSuite:
    """A suite of a project, known by its name. Asks nobody anything.

    Args:
        name: at most 200 characters; the same name in the same project is the same suite.
        dataset: an artifact such as ``squad:v2``, or a mapping with ``name``, ``version`` and ``artifactRef``.
        scorers: names, or mappings with ``name``, ``kind`` and ``config``; results of others are taken, too.
        workspace, project, endpoint, api_key, mode: as in :func:`rundial.init`; ``project_id`` is another word for
            ``project``. ``org_id`` is only kept.
        suite_id: your own id.
        dataset_name, dataset_version: of a dataset given as an artifact.
        options: further arguments of :func:`rundial.init` for every run.

    Raises:
        ConfigError: an empty name, a dataset or scorers that are none.
    """
    text = str(name).strip()
    if not text or len(text) > MAX_NAME:
        raise ConfigError(f"a suite needs a name of 1 to {MAX_NAME} characters, not {text[:40]!r}.")
    given = {"workspace": workspace, "project": project or project_id, "endpoint": endpoint, "api_key": api_key}
    chosen = {key: value for key, value in {**given, "mode": mode}.items() if value is not None}
    made = EvalSuite(
        text,
        _dataset(dataset, dataset_name, dataset_version),
        _scorers(scorers),
        None if suite_id is None else str(suite_id),
        {**chosen, **options},
    )
    made.org_id = org_id
    return made


def _identifier(value: object) -> str:
    text = str(value).strip()
    if not text or len(text) > 128 or not text.isprintable():
        raise ConfigError(f"eval_run_id {text[:40]!r} cannot be used: 1 to 128 printable characters.")
    return text


def _dataset(dataset: Any, name: str | None, version: str | None) -> dict[str, Any]:
    if dataset is None:
        return {}
    if isinstance(dataset, str):
        digest = hashlib.sha256(dataset.encode("utf-8", "replace")).hexdigest()
        return {"name": name or "dataset", "version": version or digest[:16], "artifactRef": dataset}
    if not isinstance(dataset, Mapping):
        raise ConfigError(f"dataset must be an artifact's name or a mapping, not {type(dataset).__name__}.")
    values = {clean_key(key): value for key, value in redacted(plain(dataset)).items()}
    return {"name": name or "dataset", **({} if version is None else {"version": version}), **values}


def _scorers(scorers: Any) -> list[dict[str, Any]]:
    given = [scorers] if isinstance(scorers, str | Mapping) else scorers
    if not isinstance(given, Sequence):
        raise ConfigError(f"scorers must be a list of names or mappings, not {type(scorers).__name__}.")
    found: list[dict[str, Any]] = []
    for scorer in given:
        entry = {"name": scorer} if isinstance(scorer, str) else plain(scorer)
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
            raise ConfigError(f"a scorer is a name, or a mapping with a name, not {scorer!r:.60}.")
        found.append({**redacted(entry), "name": clean_key(entry["name"])})
    return found


def _tally(found: list[tuple[float, bool | None]]) -> dict[str, float | int | None]:
    verdicts = [passed for _, passed in found if passed is not None]
    return {
        "count": len(found),
        "mean": sum(score for score, _ in found) / len(found),
        "pass_rate": sum(verdicts) / len(verdicts) if verdicts else None,
    }


class EvalNamespace:
    """What ``rundial.eval`` is."""

    pytest_plugin = "rundial.eval_pytest_plugin"
    """The module that records a pytest session; it is active once it is configured, see ``docs/evals.md``."""
    suite = staticmethod(suite)


eval = EvalNamespace()
RundialEvalSuite = EvalSuite
RundialEvalRun = EvalRun
