"""Dalva's names over Rundial: ``from rundial.compat import dalva``.

:class:`Run` has the interface of its page "Run Class": a server must be there, and what it cannot be told is a
``ConnectionError``. :func:`init` is that of its later versions, which needs no server. ``Run.run`` is the
:class:`rundial.Run`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from rundial import runs
from rundial.compat._dalva_fork import copy_metrics, parent_of
from rundial.compat._dalva_values import Ledger
from rundial.compat.server import ask
from rundial.config import key_for, resolve
from rundial.diagnostics import warn
from rundial.errors import ConfigError, RequestError
from rundial.finishing import is_hopeless
from rundial.switch import is_enabled
from rundial.values import normalise

__all__ = ["DalvaSchema", "Run", "Table", "init"]

DEFAULT_URL = "http://localhost:8000"
URL_VARIABLE = "DALVA_SERVER_URL"
_STATES = {"aborted": "failed", "crashed": "failed"}


class Run:
    """One run, on a server that must be there when it begins.

    Args:
        project: the project's name.
        name: for display; need not be unique.
        config: hyper-parameters.
        resume: the id of a run to go on with.
        server_url: left as it is, a configured server (``RUNDIAL_ENDPOINT``, ``config.toml``) takes its place.

    Raises:
        ConnectionError: the server does not answer.
        RequestError: it refuses the run: a wrong key, an id to resume that it does not know.
    """

    def __init__(
        self,
        project: str,
        name: str | None = None,
        config: dict[str, Any] | None = None,
        resume: str | None = None,
        server_url: str = DEFAULT_URL,
    ) -> None:
        endpoint = (resolve({}).endpoint if server_url == DEFAULT_URL else None) or server_url
        self._open(project, name, config, resume, {"endpoint": endpoint}, strict=True)

    def _open(
        self,
        project: str,
        name: str | None,
        config: Mapping[str, Any] | None,
        resume: str | None,
        options: dict[str, Any],
        strict: bool,
        durable: bool = False,
    ) -> None:
        endpoint = self._endpoint = options.get("endpoint")
        self._strict = strict
        self._durable = durable
        self._ledger = Ledger()
        if endpoint is not None and is_enabled():
            try:
                ask(endpoint, None, "GET", "/health/live")
            except RequestError as error:
                raise ConnectionError(f"cannot reach the server: {error}") from error
        self.project_name = project
        self.run = runs.init(
            project=project, name=name, config=config, run_id=resume, resume="must" if resume else "never", **options
        )
        self.run_id = self.run.id
        self.config = self.run.config
        if resume and endpoint is not None and is_enabled():
            known = ask(endpoint, key_for(endpoint), "GET", f"/api/v1/runs/{quote(resume, safe='')}")
            self.config.update({**known["config"], **self.config})
        self._latest: dict[str, tuple[int | None, Any]] = {}
        self._tables: list[Table] = []
        print(f"Run {'resumed' if resume else 'created'}: {self.run_id}")  # noqa: T201 - the interface promises it

    @property
    def state(self) -> str:
        """``running``, ``completed`` or ``failed``."""
        return _STATES.get(self.run.status, self.run.status)

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values: with a step they are points of their series, without one single values of the run.

        A step of a metric has one value, and a metric one kind: numbers, texts or bools. What does not fit, None and
        lists are left out, said once, and listed by :meth:`flush`; the values beside them are stored.

        Raises:
            ConnectionError: of a :class:`Run`, while its server does not answer. The values are kept and follow.
        """
        given: Any = metrics
        if isinstance(given, Mapping):
            kept = self._ledger.admit(given, step)
            if step is None:
                kept = self._summarise(kept)
            elif kept:
                self.run.log(kept, step=step)
            self._remember(kept, step)
        else:
            self.run.log(given, step=step)  # which says what is wrong with it
        if self._durable and self.run._opened is not None:
            self.run._opened.worker.move(everything=True)
        if self._strict and is_hopeless(self.run):
            raise ConnectionError(f"{self._why()}. The values are kept and sent when the server answers.")

    def _summarise(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        values, non_finite, invalid = normalise(metrics)
        for key, reason in invalid.items():
            warn(f"value of {key!r} was not stored: {reason}")
        kept = {**values, **{key: str(value) for key, value in non_finite.items()}}
        self.run.summary(kept)
        return kept

    def _remember(self, metrics: Mapping[str, Any], step: int | None) -> None:
        """Keep the latest plain value of each name, for :meth:`get`; others are only at the server."""
        for key, value in metrics.items():
            known = self._latest.get(key)
            newer = known is None or known[0] is None or step is None or step >= known[0]
            if newer and isinstance(value, (bool, int, float, str)):
                self._latest[key] = (step, value)

    def get(self, key: str, default: Any = None, step: int | None = None) -> dict[str, Any] | Any:
        """The latest value of a metric, or that of one step, as ``{"key", "value", "step"}``; ``default`` without one.

        What this process did not log itself is asked of the server, which waits for it.
        """
        known = self._latest.get(key)
        if known is not None and step in (None, known[0]):
            return {"key": key, "value": known[1], "step": known[0]}
        points = [point for point in self._points(key) if step in (None, point["step"])]
        return {"key": key, "value": points[-1]["value"], "step": points[-1]["step"]} if points else default

    def _points(self, key: str) -> list[dict[str, Any]]:
        if self._endpoint is None:
            return []
        self.run.flush()
        body = {"runId": self.run_id, "metricKeys": [key]}
        found = ask(self._endpoint, key_for(self._endpoint), "POST", "/api/v1/query/series", body)
        return list(found["series"][0]["points"]) if found["series"] else []

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Add to the configuration.

        Raises:
            ValueError: a key is there already; then nothing is added.
        """
        twice = [key for key in config if key in self.run.config]
        if twice:
            raise ValueError(f"config has {', '.join(map(repr, twice))} already; choose another key.")
        self.run.update_config(config)

    def get_config(self, key: str | None = None, default: Any = None) -> Any:
        """One value of the configuration, or all of it."""
        return dict(self.run.config) if key is None else self.run.config.get(key, default)

    def remove(self, metric: str, step: int | None = None) -> None:
        """Take back a single value, which may then be of another kind.

        Raises:
            ValueError: the metric is a series, whose points stay.
        """
        if step is not None or self._ledger.is_series(metric):
            raise ValueError(f"the points of {metric!r} stay; only single values can be removed.")
        self._ledger.forget(metric)
        self._latest.pop(metric, None)
        self.run.summary({metric: None})

    def remove_config(self, key: str) -> None:
        """Take back a key of the configuration, which may then be added again; the server keeps it as null.

        Raises:
            ValueError: there is no such key.
        """
        if key not in self.run.config:
            raise ValueError(f"config has no {key!r}.")
        self.run.update_config({key: None})
        del self.run.config[key]

    def create_table(self, schema: type[DalvaSchema], name: str = "table") -> Table:
        """A table of this run, which is logged when it, or the run, is finished.

        Args:
            schema: a subclass of :class:`DalvaSchema` that says the columns and their types.
            name: its key among the run's media.
        """
        table = Table(self.run, schema, name)
        self._tables.append(table)
        return table

    def flush(self, timeout: float | None = None) -> list[str]:
        """Wait until the server has everything, at most ``timeout`` seconds.

        Returns:
            What went wrong: values that were refused since the last time, and a server that does not have it all.
            What it does not have yet is on disk and follows.
        """
        delivered = self.run.flush(timeout)
        errors, self._ledger.errors = self._ledger.errors, []
        return errors if delivered or self._endpoint is None else [*errors, self._why()]

    def finish(self, on_error: str | None = None, timeout: float | None = None) -> None:
        """End the run as completed, and print its state. A second call changes nothing.

        Args:
            on_error: ``raise`` or ``warn`` when the server does not confirm it. Left out, a :class:`Run` raises, and
                one of :func:`init` says so.
            timeout: seconds to wait for the server; left out, as long as the option ``finish_timeout``.

        Raises:
            ConnectionError: the server did not confirm the end. Everything is on disk, and ``rundial sync`` sends it.
            ValueError: another word for ``on_error``.
        """
        if on_error not in (None, "raise", "warn"):
            raise ValueError(f"on_error must be 'raise' or 'warn', not {on_error!r}.")
        if self.run.status != "running":
            return
        for table in self._tables:
            table.finish()
        delivered = self.run.finish(timeout)
        raises = self._strict if on_error is None else on_error == "raise"
        if not delivered and self._endpoint is not None and raises:
            raise ConnectionError(f"{self._why()}. Everything is on disk; `rundial sync` sends it.")
        print(f"[Run] Run finished (state={self.state})")  # noqa: T201 - the interface promises it

    def _why(self) -> str:
        return f"{self._endpoint} does not answer: {self.run.diagnostics().last_error or 'no answer in time'}"

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.finish()
        else:
            self.run.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<Run {self.run_id} {self.state}>"


def init(
    project: str,
    name: str | None = None,
    config: dict[str, Any] | None = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    copy_tables_on_fork: Any = None,
    server_url: str | None = None,
    outbox_dir: str | os.PathLike[str] | None = None,
    http_timeout: float | None = None,
    sync: str | None = None,
    runs_dir: str | os.PathLike[str] | None = None,
    durability: str = "balanced",
    segment_bytes: int = 256 * 1024,
    segment_interval: float = 0.5,
) -> Run:
    """Start a run as later versions do: without a server it is kept on this machine, and nothing it logs raises.

    Args:
        project, name, config: as for :class:`Run`.
        resume_from: the id of a run to go on with.
        fork_from: the id of a run whose config and metrics this one begins with; a server must have it.
        server_url: a server; left out, that of ``DALVA_SERVER_URL``, else the configured one, else none.
        outbox_dir, runs_dir: where records wait on disk.
        http_timeout: seconds of one request.
        durability: ``strict`` has every value on the disk before ``log`` returns, ``balanced`` within a second.
        segment_bytes, segment_interval: settled by Rundial itself; taken, without effect.

    Raises:
        ConnectionError: a server was named and does not answer.
        RequestError: the run to fork is not known.
        ConfigError: another ``durability``, a fork without a server or with tables, ``sync``.
    """
    if durability not in ("balanced", "strict"):
        raise ConfigError(f"durability must be 'balanced' or 'strict', not {durability!r}.")
    if sync is not None:
        raise ConfigError("sync copies nothing here. Name a server, or later: `rundial sync --endpoint URL`.")
    url = server_url or os.environ.get(URL_VARIABLE, "").strip() or None
    spool = outbox_dir or runs_dir
    options = {"endpoint": url, "spool_directory": spool, "request_timeout_seconds": http_timeout}
    run = Run.__new__(Run)
    given = {option: value for option, value in options.items() if value is not None}
    durable = durability == "strict"
    if fork_from is None:
        run._open(project, name, config, resume_from, given, strict=False, durable=durable)
        return run
    origin = url or resolve({}).endpoint
    if origin is None or copy_tables_on_fork:
        raise ConfigError("a fork needs the server that has the run, and takes its config and metrics, not its tables.")
    parent = parent_of(origin, fork_from)
    name = name or f"fork of {parent['runName']}"
    merged = {**parent["config"], **(config or {})}
    run._open(project, name, merged, None, given | {"notes": f"fork of {fork_from}"}, strict=False, durable=durable)
    copy_metrics(origin, parent, run.run)
    return run


class DalvaSchema(msgspec.Struct, forbid_unknown_fields=True):
    """Base of the classes that say what a table's rows hold: a name and a type for each column."""


class Table:
    """Rows of one schema. :meth:`Run.create_table` makes it."""

    def __init__(self, run: runs.Run, schema: type[DalvaSchema], name: str) -> None:
        self.name = name
        self._run = run
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._finished = False

    def log_row(self, row: Mapping[str, Any]) -> None:
        """Add a row. Raises ValueError when a column is missing, unknown or of another type."""
        self.log_rows([row])

    def log_rows(self, rows: list[Mapping[str, Any]]) -> None:
        """Add rows, all or none. Raises ValueError as :meth:`log_row` does, and when the table is finished."""
        if self._finished:
            raise ValueError(f"table {self.name!r} is finished.")
        try:
            checked = [msgspec.to_builtins(msgspec.convert(dict(row), self._schema)) for row in rows]
        except msgspec.ValidationError as error:
            raise ValueError(f"table {self.name!r}: {error}.") from error
        self._rows += checked

    def get_table(self) -> list[dict[str, Any]]:
        """The rows so far."""
        return list(self._rows)

    def finish(self) -> None:
        """Log the table. A second call changes nothing."""
        if self._finished:
            return
        from rundial.media import Table as Rows

        self._finished = True
        columns = list(self._schema.__struct_fields__)
        rows = [[row[column] for column in columns] for row in self._rows]
        self._run.log({self.name: Rows(columns=columns, data=rows)})
