"""``init()`` and :class:`Run`: what a training script touches."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from rundial.config import Distributed, Mode, Settings, resolve
from rundial.diagnostics import Counters, Diagnostics, say
from rundial.distributed import detect_rank
from rundial.errors import ConfigError
from rundial.events import Marker, Metrics, ResumeMode, RunEnd, RunKind, RunStart, RunStatus, RunUpdate
from rundial.exits import Ending, ending_of, watch
from rundial.names import new_run_id, random_name
from rundial.pipeline import Pipeline
from rundial.summary import Summary
from rundial.transport import CLIENT
from rundial.values import normalise, plain, scalar, snapshot, step_number
from rundial.wire import MAX_RECORD_BYTES, encode

MAX_REASON = 512
_METRICS_TAG = 2
_KINDS = ("training", "agent", "eval")
_RESUME = ("never", "allow", "must")
_ENDS = ("completed", "failed", "aborted", "crashed")
_now = time.time_ns


def init(
    *,
    project: str | None = None,
    workspace: str | None = None,
    name: str | None = None,
    endpoint: str | None = None,
    api_key: str | None = None,
    run_id: str | None = None,
    kind: RunKind = "training",
    resume: ResumeMode = "never",
    group: str | None = None,
    job_type: str | None = None,
    tags: Sequence[str] | None = None,
    config: Mapping[str, Any] | object | None = None,
    mode: Mode | None = None,
    distributed: Distributed | None = None,
    distributed_rank: int | None = None,
    **options: Any,
) -> Run:
    """Start a run and make it the current one.

    With nothing configured it needs no account, server or network: ``rundial ui`` shows the run whenever you like.

    Args:
        project, workspace: slugs; default ``default-project`` and ``default-workspace``.
        name: display name; a readable one is made when it is left out.
        endpoint, api_key: a server and its key; without an endpoint the run goes to this machine's own store.
        run_id: your own id, needed to resume; made here otherwise.
        kind: ``training``, ``agent`` or ``eval``.
        resume: ``never`` refuses an id that exists, ``allow`` continues or creates it, ``must`` requires it.
        group, job_type, tags: for finding and grouping runs.
        config: hyper-parameters: a mapping, a namespace or a dataclass; nesting, ints and lists are kept.
        mode: ``online``, ``offline`` (only the spool), ``disabled`` (does nothing at all).
        distributed, distributed_rank: which ranks log; see ``docs/settings.md``.
        options: any other option of ``docs/settings.md``.

    Raises:
        ConfigError: an unknown option, an empty project: a mistake in the call.
        RequestError: the server refuses the run: wrong key, unknown project, an id that exists. A server that cannot
            be reached raises nothing: training starts, and the data follows.
    """
    global _current
    _check_choice("kind", kind, _KINDS)
    _check_choice("resume", resume, _RESUME)
    settings = resolve(
        {
            "project": project,
            "workspace": workspace,
            "endpoint": endpoint,
            "api_key": api_key,
            "mode": mode,
            "distributed": distributed,
            "distributed_rank": distributed_rank,
            **options,
        }
    )
    if resume == "must" and run_id is None:
        raise ConfigError("resume='must' needs the run_id of the run to go on with.")
    rank = detect_rank(settings.distributed_rank)
    start = RunStart(
        time_ns=_now(),
        run_id=_identifier(run_id) if run_id is not None else new_run_id(),
        workspace=settings.workspace,
        project=settings.project,
        name=str(name).strip() if name and str(name).strip() else random_name(),
        kind=kind,
        resume=resume,
        group=None if group is None else str(group),
        job_type=None if job_type is None else str(job_type),
        tags=_tags(tags),
        host=os.uname().nodename,
        pid=os.getpid(),
        rank=rank,
        client=CLIENT,
        system=_system(),
        heartbeat_seconds=settings.heartbeat_seconds,
        part=rank > 0,
    )
    values = _config(config)
    start, later = _split_start(start, values)
    run = Run(start, settings, None if _is_silent(settings, rank) else Pipeline(settings, start))
    run.config = values
    run._send_config(later)
    run._start()
    _current = run
    return run


def _split_start(start: RunStart, config: dict[str, Any]) -> tuple[RunStart, dict[str, Any]]:
    """The first record, with the configuration if it fits in, and what of it must follow."""
    whole = msgspec.structs.replace(start, config=config)
    if len(encode(whole)) <= MAX_RECORD_BYTES:
        return whole, {}
    return start, config


def _is_silent(settings: Settings, rank: int) -> bool:
    return settings.mode == "disabled" or (settings.distributed == "rank0" and rank > 0)


def _check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")


def _identifier(value: object) -> str:
    text = str(value).strip()
    if not text or len(text) > 128 or not text.isprintable() or any(c in text for c in "/\\?#% "):
        raise ConfigError(f"run_id {text[:40]!r} cannot be used: 1 to 128 characters, no spaces, none of / \\ ? # %.")
    return text


def _tags(tags: object) -> list[str]:
    if isinstance(tags, str):
        return [tags]
    if tags is not None and not isinstance(tags, Iterable):
        raise ConfigError(f"tags must be a list of texts, not {type(tags).__name__}.")
    return [str(tag) for tag in tags or ()]


def _config(config: object) -> dict[str, Any]:
    if config is None:
        return {}
    values = plain(config)
    if not isinstance(values, dict):
        raise ConfigError(f"config must be a mapping, a namespace or a dataclass, not {type(config).__name__}.")
    return values


def _system() -> dict[str, Any]:
    return {
        "python": sys.version.split()[0],
        "platform": sys.platform,
        "command": " ".join(sys.argv)[:1000],
        "directory": _directory(),
    }


def _directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return ""  # removed under our feet: no reason not to train


class Run:
    """One run. Made by :func:`init`; a context manager that finishes it as completed, or failed on an exception.

    No method but :meth:`flush` and :meth:`finish` waits for anything, and none but ``init`` raises for what a server,
    a disk or a value does.
    """

    def __init__(self, start: RunStart, settings: Settings, pipeline: Pipeline | None) -> None:
        self.id = self.run_id = start.run_id
        self.name = start.name
        self.project = start.project
        self.workspace = start.workspace
        self.kind = start.kind
        self.group = start.group
        self.job_type = start.job_type
        self.tags = tuple(start.tags)
        self.mode = settings.mode
        self.config: dict[str, Any] = dict(start.config)
        self.summary = Summary(lambda values: self._update(summary=values))
        self.url: str | None = None
        """Where the page shows this run; None until a server has answered."""
        self.status: RunStatus = "running"
        self._begin = start
        self._settings = settings
        self._steps = count()
        self._highest = -(1 << 63)
        self._delivered = False
        self._pid = os.getpid()
        self._opened: Pipeline | None = None
        self._counters = Counters()
        self._offer: Callable[[bytes], bool] = _ignore
        self._unopened = False
        if pipeline is not None:
            self._adopt(pipeline)

    def _adopt(self, pipeline: Pipeline) -> None:
        self._opened = pipeline
        self._counters = pipeline.counters
        self._offer = pipeline.offer
        pipeline.on_child = _watch
        _open_runs.append(self)
        _watch()

    @property
    def _pipeline(self) -> Pipeline | None:
        """The pipeline, None for a run that logs nothing. A handle that travelled opens its own when it first logs."""
        if self._unopened:
            self._unopened = False
            pipeline = Pipeline(self._settings, self._begin)
            self._adopt(pipeline)
            pipeline.start(self._meet)
        return self._opened

    def _offer_first(self, record: bytes) -> bool:
        pipeline = self._pipeline
        return pipeline is None or pipeline.offer(record)

    def __reduce__(self) -> tuple[Any, ...]:
        """A run travels to another process as a handle, which becomes a further stream of the same run when it logs."""
        return _arrive, (encode(self._begin), msgspec.structs.asdict(self._settings), self.name, self.url)

    def __copy__(self) -> Run:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Run:
        """A run is one thing in the world; copying what holds it does not make another."""
        return self

    # -- logging --------------------------------------------------------------------------------------------------

    def log(
        self,
        metrics: Mapping[str, Any] | None = None,
        *,
        step: Any = None,
        time_ms: int | None = None,
        context: Mapping[str, str] | None = None,
        stage: str | None = None,
        **kwargs: Any,
    ) -> bool:
        """Log values at one step. Takes microseconds, does no I/O, never blocks and never raises.

        Args:
            metrics: names to numbers (of Python, NumPy, torch), texts, or nested mappings of them.
            step: any integer; left out, the one after the last. The last value logged for a step is the one shown.
            time_ms: Unix time in milliseconds; left out, now.
            context: names to texts that go along with this call.
            stage: a coarse bucket such as ``epoch_1``.
            kwargs: further metrics; they win over ``metrics``.

        Returns:
            False when the queue had no room or there was nothing to store; that is counted, see :meth:`diagnostics`.
        """
        try:
            # Encode first and ask questions later: a dict of finite floats is ready to go, and anything else shows
            # itself by what sum() makes of it or by what the encoder says.
            if metrics and stage is None and time_ms is None and context is None and not kwargs:
                total: Any = sum(metrics.values())
                kind = total.__class__
                if (kind is float or kind is int) and total - total == 0:
                    if step is None:
                        step = next(self._steps)
                    elif step.__class__ is int and -0x8000000000000000 <= step < 0x7FFFFFFFFFFFFFFF:
                        self._steps = count(step + 1)
                        if step < self._highest:
                            self._counters.out_of_order_steps += 1
                        else:
                            self._highest = step
                    else:
                        return self._log_slowly(metrics, step, None, None, None)
                    record = encode((_METRICS_TAG, _now(), step, metrics))
                    if len(record) <= MAX_RECORD_BYTES:
                        return self._offer(record)
        except Exception:  # noqa: BLE001, S110 - whatever it is, the careful way names it and saves the rest
            pass
        return self._log_slowly({**(metrics or {}), **kwargs} if kwargs else metrics, step, time_ms, context, stage)

    def _log_slowly(self, metrics: Any, step: Any, time_ms: Any, context: Any, stage: Any) -> bool:
        pipeline = self._pipeline
        if pipeline is None:
            return True
        try:
            return self._log_carefully(pipeline, metrics, step, time_ms, context, stage)
        except Exception as error:  # noqa: BLE001 - nothing a stranger's object does may reach the training loop
            self._count_failure(pipeline, error)
            return False

    def _log_carefully(
        self, pipeline: Pipeline, metrics: Any, step: Any, time_ms: Any, context: Any, stage: Any
    ) -> bool:
        counters = pipeline.counters
        if not isinstance(metrics, Mapping):
            counters.invalid_values += 1
            counters.warn_once("metrics", f"log() takes a mapping of names to values, not {type(metrics).__name__}.")
            return False
        if not metrics:
            counters.warn_once("empty", "log() was called without any value; nothing was logged.")
            return False
        number = self._take_step(pipeline, step)
        moment = _now() if time_ms is None else self._moment(pipeline, time_ms)
        copied, found = snapshot(metrics)
        if found:
            return pipeline.defer(lambda: self._store_late(pipeline, copied, number, moment, context, stage))
        return self._store(pipeline, metrics, number, moment, context, stage)

    def _store_late(self, pipeline: Pipeline, *call: Any) -> bool:
        try:
            return self._store(pipeline, *call)
        except Exception as error:  # noqa: BLE001 - a device may fail in its own ways, and the worker must live on
            self._count_failure(pipeline, error)
            return False

    @staticmethod
    def _count_failure(pipeline: Pipeline, error: Exception) -> None:
        pipeline.counters.invalid_values += 1
        pipeline.counters.warn_once("log", f"log() could not store a call: {type(error).__name__}: {error}")

    def _store(self, pipeline: Pipeline, metrics: Any, number: int, moment: int, context: Any, stage: Any) -> bool:
        counters = pipeline.counters
        values, non_finite, invalid = normalise(metrics)
        for key, reason in invalid.items():
            counters.invalid_values += 1
            counters.warn_once(f"value {key}", f"value of {key!r} was not stored: {reason}.")
        for key, value in non_finite.items():
            counters.count_non_finite(key)
            counters.warn_once(f"non_finite {key}", f"{key!r} is {value} at step {number}; it is marked on the chart.")
            pipeline.emit(Marker(moment, "non_finite", key, number, {"value": str(value)}))
        if not values:
            return bool(non_finite)
        return self._emit_metrics(
            pipeline,
            Metrics(
                moment,
                number,
                values,
                None if stage is None else str(stage)[:MAX_REASON],
                {str(k): str(v) for k, v in dict(context).items()} if context else None,
            ),
        )

    def _emit_metrics(self, pipeline: Pipeline, metrics: Metrics) -> bool:
        record = encode(metrics)
        if len(record) <= MAX_RECORD_BYTES:
            return self._offer(record)
        # One call with ten thousand names is still one step: halves of it meet again in the chart.
        if len(metrics.values) == 1:
            return pipeline.emit(metrics)
        parts = _halves(metrics.values)
        sent = [self._emit_metrics(pipeline, msgspec.structs.replace(metrics, values=part)) for part in parts]
        return all(sent)

    def _take_step(self, pipeline: Pipeline, step: Any) -> int:
        if step is None:
            return next(self._steps)
        try:
            number = step_number(step)
        except Exception as error:  # noqa: BLE001 - an object's own __int__ or item() may raise anything
            pipeline.counters.invalid_values += 1
            pipeline.counters.warn_once("step", f"{error}; the next automatic step was used instead.")
            return next(self._steps)
        self._steps = count(number + 1)
        if number < self._highest:
            pipeline.counters.out_of_order_steps += 1
        else:
            self._highest = number
        return number

    def _moment(self, pipeline: Pipeline, time_ms: Any) -> int:
        try:
            moment = int(scalar(time_ms)) * 1_000_000
            if 0 <= moment < 1 << 63:
                return moment
        except Exception as error:  # noqa: BLE001 - as above
            pipeline.counters.last_error = f"time_ms: {error}"
        pipeline.counters.invalid_values += 1
        pipeline.counters.warn_once("time_ms", f"time_ms {time_ms!r:.80} is no Unix time in ms; now was used instead.")
        return _now()

    def log_metric(
        self,
        key: str,
        value: Any,
        *,
        step: Any = None,
        time_ms: int | None = None,
        context: Mapping[str, str] | None = None,
    ) -> bool:
        """Log one value; as :meth:`log` with a single name."""
        return self.log({key: value}, step=step, time_ms=time_ms, context=context)

    def update_config(self, config: Mapping[str, Any] | object) -> bool:
        """Merge values into the configuration, key by key, nested ones too. Does not wait for the server."""
        values = _config_or_none(config)
        if values is None:
            if self._pipeline is not None:
                self._pipeline.counters.warn_once("config", f"config must be a mapping, not {type(config).__name__}.")
            return False
        _merge(self.config, values)
        return self._send_config(values)

    def _send_config(self, values: dict[str, Any]) -> bool:
        """Send configuration in as many records as it takes; a single value that fits into none is left out."""
        if not values:
            return True
        if len(encode(values)) <= MAX_RECORD_BYTES // 2:
            return self._update(config=values)
        if len(values) == 1:
            ((key, value),) = values.items()
            if isinstance(value, dict) and len(value) > 1:
                sent = [self._send_config({key: part}) for part in _halves(value)]
                return all(sent)
            self._counters.config_truncations += 1
            self._counters.warn_once("config", f"config {key!r} is too large and was left out; log it as an artifact.")
            return False
        sent = [self._send_config(part) for part in _halves(values)]
        return all(sent)

    def _update(self, **changes: Any) -> bool:
        pipeline = self._pipeline
        if pipeline is None:
            return True
        if self.status != "running":
            self._after_finish(b"")
            return False
        return pipeline.emit(RunUpdate(_now(), **changes))

    # -- ending ---------------------------------------------------------------------------------------------------

    def flush(self, timeout_seconds: float | None = None) -> bool:
        """Wait until a server has committed everything logged so far; without one, until it is on disk.

        Args:
            timeout_seconds: the longest to wait; None for the option ``finish_timeout``.

        Returns:
            True when all of it is acknowledged, or written when there is no server to wait for.
        """
        pipeline = self._pipeline
        if pipeline is None or pipeline.closed:
            return True
        timeout = self._settings.finish_timeout if timeout_seconds is None else timeout_seconds
        return pipeline.flush(timeout) or (not self._sends and pipeline.queue.depth == 0)

    @property
    def _sends(self) -> bool:
        return self._pipeline is not None and self._settings.mode == "online" and self._pipeline.worker.sending

    def finish(
        self, timeout_seconds: float | None = None, *, status: RunStatus = "completed", reason: str | None = None
    ) -> bool:
        """End the run and wait for delivery. A second call changes nothing.

        Args:
            timeout_seconds: the longest to wait; it returns within half a second of it. None waits for the option
                ``finish_timeout`` but not for a server that does not answer.
            status: ``completed``, ``failed``, ``aborted`` or ``crashed``.
            reason: why, at most 512 characters.

        Returns:
            True when a server has acknowledged everything. Otherwise the rest is on disk, and one line says how much
            and how to send it.
        """
        return self._finish(Ending(status, reason, None, timeout_seconds), patient=timeout_seconds is not None)

    def close(self, timeout_seconds: float | None = None) -> bool:
        """The same as :meth:`finish`."""
        return self.finish(timeout_seconds)

    def complete(self, reason: str | None = None, timeout_seconds: float | None = None) -> bool:
        """End the run as completed."""
        return self.finish(timeout_seconds, status="completed", reason=reason)

    def fail(self, reason: str | None = None, timeout_seconds: float | None = None) -> bool:
        """End the run as failed."""
        return self.finish(timeout_seconds, status="failed", reason=reason)

    def abort(self, reason: str | None = None, timeout_seconds: float | None = None) -> bool:
        """End the run as aborted."""
        return self.finish(timeout_seconds, status="aborted", reason=reason)

    def _finish(self, ending: Ending, patient: bool = False) -> bool:
        global _current
        if self.status != "running":
            return self._delivered or self._opened is None
        self.status = ending.status if ending.status in _ENDS else "completed"
        if _current is self:
            _current = None
        if self in _open_runs:
            _open_runs.remove(self)
        if self._unopened or self._pipeline is None:  # silent, or a handle that never logged: nothing to end
            return True
        pipeline = self._pipeline
        pipeline.resolve()
        self._offer = self._after_finish
        reason = None if ending.reason is None else str(ending.reason)[:MAX_REASON]
        end = RunEnd(_now(), self.status, reason, ending.traceback)
        limit = self._settings.finish_timeout if ending.seconds is None else max(0.0, ending.seconds)
        self._delivered = pipeline.close(end, limit, (lambda: False) if patient else self._hopeless)
        if not self._delivered:
            self._say_what_is_left()
        return self._delivered

    def _leave(self) -> None:
        """A forked child ends: its own stream ends with it, the run does not."""
        if self._opened is not None:
            self._opened.close(RunEnd(_now(), "completed"), self._settings.finish_timeout, self._hopeless)

    def _hopeless(self) -> bool:
        worker = self._pipeline.worker if self._pipeline is not None else None
        return worker is not None and (worker.unreachable is not None or worker.verdict is not None)

    def _say_what_is_left(self) -> None:
        pipeline = self._pipeline
        assert pipeline is not None
        if self._settings.quiet:
            return
        account = pipeline.diagnostics()
        records = f"{account.pending:,} record{'' if account.pending == 1 else 's'}"
        where = pipeline.spool.folder.parent
        how = "`rundial ui` shows it" if self._settings.endpoint is None else "`rundial sync` sends the rest"
        say(f"{self.name}: {records} saved in {where}; {how}.")

    def _after_finish(self, record: bytes) -> bool:
        if self._pipeline is not None:
            self._pipeline.refuse("closed", f"{self.name} is finished; what is logged to it afterwards is dropped.")
        return False

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish(ending_of(kind, error, trace))

    # -- looking --------------------------------------------------------------------------------------------------

    @property
    def project_id(self) -> str:
        """The project's id once a server has answered, its slug until then."""
        known = self._pipeline.worker.run if self._pipeline is not None else None
        return str(known["projectId"]) if known else self.project

    def diagnostics(self) -> Diagnostics:
        """What became of everything logged so far; see ``docs/reliability.md``."""
        if self._unopened or self._pipeline is None:
            return Diagnostics(logged=0, acknowledged=0, pending=0, health="disabled")
        return self._pipeline.diagnostics()

    def _start(self) -> None:
        """Begin delivery. Wait for a configured server's verdict: raises its refusal, goes on from its last step."""
        pipeline = self._pipeline
        if pipeline is None:
            return
        waits = self._settings.endpoint is not None and self._settings.mode == "online"
        pipeline.start(self._meet, awaited=waits)
        if not waits:
            return
        refusal = pipeline.wait_for_verdict(self._settings.init_timeout)
        if refusal is not None:
            _open_runs.remove(self)
            pipeline.discard()
            raise refusal
        last_step = (pipeline.worker.run or {}).get("lastStep")
        if isinstance(last_step, int):
            self._steps = count(last_step + 1)

    def _meet(self, known: dict[str, Any]) -> None:
        """Take over what the server says about this run."""
        first = self.url is None
        self.url = known.get("url")
        self.name = known.get("name") or self.name
        if first and self.url and not self._settings.quiet:
            say(f"{self.name} {self.url}")

    def __repr__(self) -> str:
        return f"<Run {self.name} {self.id} {self.status}>"


def _ignore(record: bytes) -> bool:
    return True


def _arrive(begin: bytes, options: dict[str, Any], name: str, url: str | None) -> Run:
    """A run out of its pickle: this process's own if it is here, else a handle of it."""
    start = msgspec.msgpack.decode(begin, type=RunStart)
    for run in _open_runs:
        if run.id == start.run_id and run._pid == os.getpid():
            return run
    start = msgspec.structs.replace(start, time_ns=_now(), pid=os.getpid(), part=True, resume="allow", config={})
    settings = Settings(**options)
    run = Run(start, settings, None)
    run.name, run.url = name, url
    if not _is_silent(settings, start.rank):
        run._unopened = True
        run._offer = run._offer_first
    return run


def _config_or_none(config: object) -> dict[str, Any] | None:
    values = plain(config)
    return values if isinstance(values, dict) else None


def _halves(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    items = list(values.items())
    return dict(items[: len(items) // 2]), dict(items[len(items) // 2 :])


def _merge(target: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


# -- the current run, and the end of the process ----------------------------------------------------------------------

_current: Run | None = None
_open_runs: list[Run] = []


def current() -> Run | None:
    """The run that :func:`init` made last and that is not finished, or None."""
    return _current


def log(metrics: Mapping[str, Any] | None = None, **kwargs: Any) -> bool:
    """Log to the current run; see :meth:`Run.log`. Without one: a ConfigError, for there is nothing to log to."""
    if _current is None:
        raise ConfigError("there is no run to log to; call rundial.init() first.")
    return _current.log(metrics, **kwargs)


def finish(timeout_seconds: float | None = None, *, status: RunStatus = "completed", reason: str | None = None) -> bool:
    """Finish the current run; see :meth:`Run.finish`. True when there is none."""
    return True if _current is None else _current.finish(timeout_seconds, status=status, reason=reason)


def _watch() -> None:
    watch(_end_open_runs)


def _end_open_runs(ending: Ending) -> None:
    for run in list(_open_runs):
        if run._pid == os.getpid():
            run._finish(ending)
        else:
            run._leave()
