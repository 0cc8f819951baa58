"""``init()`` and :class:`Run`: what a training script touches."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from rundial import finishing, hyper_parameters, sources
from rundial import start as start_of_run
from rundial.config import Distributed, Mode, Settings, local_server
from rundial.current import set_current_run
from rundial.diagnostics import Counters, Diagnostics, say
from rundial.events import LEVELS, Ack, Marker, ResumeMode, RunKind, RunStart, RunStatus, RunUpdate, clean_key
from rundial.exits import Ending, ending_of
from rundial.metrics import count_failure, log_carefully, moment_of, upcoming_step
from rundial.pipeline import Pipeline, own_streams
from rundial.summary import Summary
from rundial.values import plain, step_number
from rundial.wire import MAX_RECORD_BYTES, encode

if TYPE_CHECKING:
    from rundial import artifacts, tracing
    from rundial.control import dials, rules
    from rundial.control.dial import Dial
    from rundial.control.turn import Turn

MAX_NOTES = 100_000
_METRICS_TAG = 2
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
    path: str | None = None,
    alias: str | None = None,
    notes: str | None = None,
    mode: Mode | None = None,
    distributed: Distributed | None = None,
    distributed_rank: int | None = None,
    system_metrics_provider: Callable[[], Mapping[str, float]] | None = None,
    time_ms: int | None = None,
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
        resume: ``never`` refuses an id that exists, ``allow`` continues or creates it, ``must`` requires it,
            ``continue`` creates it or goes on with it, however it ended.
        group, job_type, tags: for finding and grouping runs.
        config: hyper-parameters: a mapping, a namespace or a dataclass; nesting, ints and lists are kept, and texts
            under names such as ``api_key`` or ``hub_token`` are not.
        path: where the run stands in its project's tree, such as ``cv/resnet50/baseline``.
        alias, notes: a short label, and a longer text.
        mode: ``online``, ``offline`` (only the spool), ``disabled`` (does nothing at all).
        distributed, distributed_rank: which ranks log; see ``docs/settings.md``.
        system_metrics_provider: called in the background for what is logged as ``system/*``, instead of our own.
        time_ms: when the run began, as Unix time in milliseconds, for one that is brought in; left out, now.
        options: any other option of ``docs/settings.md``.

    Raises:
        ConfigError: an unknown option, an empty project: a mistake in the call.
        RequestError: the server refuses the run: wrong key, unknown project, an id that exists. A server that cannot
            be reached raises nothing: training starts, and the data follows.
    """
    settings = start_of_run.settings(
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
    start = start_of_run.first_record(
        settings, name, run_id, kind, resume, group, job_type, tags, path, alias, notes, time_ms
    )
    values = hyper_parameters.read(config)
    start, later = start_of_run.with_config(start, values)
    run = Run(start, settings, None if start_of_run.is_silent(settings, start.rank) else Pipeline(settings, start))
    run.config = values
    hyper_parameters.send(run, later)
    run._start(resumes=resume != "never")
    set_current_run(run)
    sources.start(run, system_metrics_provider)
    return run


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
        self.path = start.path
        self.alias = start.alias
        self.notes = start.notes
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
        self._board: dials.Board | None = None
        self._commands: deque[Turn | None] = deque()
        """What has arrived for the dials and waits for :meth:`poll`."""
        self._why: str | None = None
        """Why the run ends well, where nobody says: who stopped it by a dial."""
        self._sources: list[Callable[[float], None]] = []
        """How to stop what logs by itself, with the seconds that may take at most."""
        if pipeline is not None:
            self._adopt(pipeline)

    def _adopt(self, pipeline: Pipeline) -> None:
        self._opened = pipeline
        self._counters = pipeline.counters
        self._offer = pipeline.offer
        pipeline.on_child = finishing.watch_process
        finishing.watch_over(self)

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
                        return log_carefully(self, metrics, step, None, None, None)
                    record = encode((_METRICS_TAG, _now(), step, metrics))
                    if len(record) <= MAX_RECORD_BYTES:
                        return self._offer(record)
        except Exception:  # noqa: BLE001, S110 - whatever it is, the careful way names it and saves the rest
            pass
        return log_carefully(self, {**(metrics or {}), **kwargs} if kwargs else metrics, step, time_ms, context, stage)

    def log_metric(
        self,
        metric_key: str,
        value: Any,
        *,
        step: Any = None,
        time_ms: int | None = None,
        timestamp_ms: int | None = None,
        context: Mapping[str, str] | None = None,
    ) -> bool:
        """Log one value; as :meth:`log` with a single name. ``timestamp_ms`` is the same as ``time_ms``."""
        moment = timestamp_ms if time_ms is None else time_ms
        return self.log({metric_key: value}, step=step, time_ms=moment, context=context)

    def log_text(
        self, message: Any, level: str = "info", *, time_ms: int | None = None, timestamp_ms: int | None = None
    ) -> bool:
        """Write a line into the run's log; a text of several lines becomes several. It is not printed.

        Args:
            message: at most 8 KiB of UTF-8 a line; the rest is cut off, flagged and counted.
            level: ``trace``, ``debug``, ``info``, ``warn``, ``error`` or ``fatal``.
            time_ms, timestamp_ms: Unix time in milliseconds; left out, now.

        Returns:
            False when the queue had no room or the level is none of these; that is counted.
        """
        from rundial.logs import log_text  # loaded by the first text

        pipeline = self._writable()
        if pipeline is None:
            return self.status == "running"
        moment = timestamp_ms if time_ms is None else time_ms
        return log_text(pipeline, message, level, _now() if moment is None else moment_of(pipeline, moment))

    def event(self, name: str, *, step: int | None = None, kind: str = "event", **attrs: Any) -> bool:
        """Mark a moment on every chart, with what ``attrs`` say about it.

        Args:
            name: what happened.
            step: where on the charts; left out, the time alone decides.
            kind: what sort of thing, such as ``checkpoint``.
        """
        pipeline = self._writable()
        if pipeline is None:
            return self.status == "running"
        try:
            number = None if step is None else step_number(step)
            return pipeline.emit(Marker(_now(), clean_key(kind), clean_key(name), number, plain(attrs)))
        except Exception as error:  # noqa: BLE001 - nothing a stranger's object does may reach the training loop
            count_failure(pipeline, error)
            return False

    def alert(self, title: str, text: str = "", level: str = "info", *, step: int | None = None) -> bool:
        """Raise something people should look at: a marker of kind ``alert``, and a line in the log.

        Args:
            title, text: what it is about, and more of it.
            level: ``info``, ``warn`` or ``error``.
        """
        self.log_text(f"{title}: {text}" if text else title, level if level in LEVELS else "warn")
        return self.event(title, step=step, kind="alert", text=text, level=level)

    def set_primary_metric(self, metric_name: str, mode: str = "max") -> None:
        """Name the metric that stands for the run; its best value and step are kept in the summary from here on.

        Args:
            metric_name: the key given to :meth:`log`.
            mode: ``max`` when higher is better, ``min`` when lower is. Of equal values the first counts, NaN never.

        Raises:
            ConfigError: another mode.
        """
        start_of_run.check_choice("mode", mode, ("max", "min"))
        self._update(primary={"name": clean_key(metric_name), "mode": mode})

    def rename(self, name: str) -> bool:
        """Give the run another display name."""
        self.name = str(name).strip() or self.name
        return self._update(name=self.name)

    def set_tags(self, tags: Sequence[str]) -> bool:
        """Replace the run's tags."""
        self.tags = tuple(start_of_run.texts(tags))
        return self._update(tags=list(self.tags))

    def set_notes(self, notes: str) -> bool:
        """Replace the run's notes, at most 100,000 characters."""
        self.notes = str(notes)[:MAX_NOTES]
        return self._update(notes=self.notes)

    # -- dials ----------------------------------------------------------------------------------------------------

    def dial(
        self,
        name: str,
        get: Callable[[], Any] | None = None,
        set: Callable[..., Any] | None = None,
        *,
        value: Any = None,
        kind: str | None = None,
        min: float | None = None,
        max: float | None = None,
        step: float | None = None,
        choices: Sequence[Any] | None = None,
        unit: str | None = None,
        description: str | None = None,
        validate: Callable[[Any], Any] | None = None,
        role: str | None = None,
    ) -> Dial:
        """Offer a control that people may turn while the run goes on; :meth:`poll` obeys. See ``docs/control.md``.

        Args:
            name: such as ``lr``; a dial of the same name gives way.
            get: gives the value now. Without it the dial remembers what it was set to.
            set: takes the new value; an action's takes none. One that needs an argument more gets the context first.
            value: what a dial without ``get`` begins with.
            kind: ``float``, ``int``, ``bool``, ``choice``, ``text`` or ``action``; left out, it follows from the rest.
            min, max: bounds of a number, both included; ``step`` is what a slider moves by.
            choices: what a choice may be.
            unit, description: for people.
            validate: takes a value within these bounds and gives the one to apply, or raises why not.
            role: ``owner``: only those with the scope ``admin`` may turn it; else all with ``control:write``.

        Returns:
            The dial; its ``value`` is what it is set to.

        Raises:
            ConfigError: a mistake in the call.
        """
        from rundial.control.offer import Offer

        return self._dials().offer(
            Offer(name, get, set, value, kind, min, max, step, choices, unit, description, validate, role)
        )

    def _dials(self) -> dials.Board:
        from rundial.control import dials  # loaded by the first dial

        if self._board is None:
            pipeline = None if self._begin.part or self.status != "running" else self._pipeline
            self._board = board = dials.Board(pipeline, self._commands, lambda: upcoming_step(self), self._stopped)
            self._sources.append(lambda seconds: board.close())
        return self._board

    def rule(self, when: str, do: rules.Do, *, name: str | None = None) -> Dial:
        """Have something done by itself when a condition on what is logged comes true. See ``docs/control.md``.

        The condition is asked in the worker, some tenths of a second after ``log()``; what it does to dials is done at
        the next :meth:`poll`. It acts once, and again only after it has ceased to hold.

        Args:
            when: such as ``loss is nan or loss > 10 for 3 steps``.
            do: ``alert``, ``stop`` or another action that the run offers, or dials and values: ``{"lr": 0.001}``.
            name: what people see; left out, the condition.

        Returns:
            The switch of the rule, a dial that is true while the rule is on.

        Raises:
            ConfigError: the condition cannot be understood, or ``do`` is nothing that can be done.
        """
        from rundial.control import rules

        return rules.add(self, when, do, name)

    def poll(self, ctx: Any = None, *, step: int | None = None, ddp: bool = False, every_s: float = 2.0) -> list[Ack]:
        """Apply what has been sent to the dials since the last poll; to be called where a step begins or ends.

        Costs next to nothing while there is nothing. Nothing that arrives can raise out of it.

        Args:
            ctx: handed to those ``set`` functions that take a context.
            step: where on the charts a change is marked; left out, the step after the last one logged.
            ddp: with an initialised ``torch.distributed``, what has arrived at rank 0 is applied on all ranks in the
                same order. Every rank must offer the same dials and poll equally often.
            every_s: with ``ddp``, about how many seconds lie between two looks that all ranks take together.

        Returns:
            What became of each command: ``name``, ``status``, ``value``, ``former``, ``error`` and more.
        """
        if ddp and self._board is not None:
            from rundial.control.ranks import world

            if world() > 1:
                return self._board.poll_together(ctx, every_s, step)
        return self._board.poll(ctx, step) if self._commands and self._board is not None else []

    def _stopped(self, why: str) -> None:
        self._why = why

    # -- spans, files, media --------------------------------------------------------------------------------------

    def trace(
        self,
        name: str,
        *,
        kind: str = "internal",
        attrs: Mapping[str, Any] | None = None,
        trace_id: str | None = None,
        parent_span_id: str | None = None,
        model: str | None = None,
        system: str | None = None,
    ) -> tracing.Span:
        """A span: use it as a context manager, sync or async, or as a decorator. See ``docs/traces.md``.

        Spans begun inside one another share a trace; threads and asyncio tasks keep apart.

        Args:
            name: what is done, at most 512 characters.
            kind: ``internal``, ``server``, ``client``, ``producer``, ``consumer`` or ``tool``.
            attrs: what to know about it; values over 16 KiB go to the artifact store and leave a reference.
            trace_id, parent_span_id: lower-case hex, 32 and 16 characters, to go on with a trace from elsewhere.
            model, system: which model, and who serves it.
        """
        from rundial import tracing

        return tracing.Span(
            self,
            name,
            kind=kind,
            attrs=attrs,
            trace_id=trace_id,
            parent_span_id=parent_span_id,
            model=model,
            system=system,
        )

    def tool_call(
        self,
        name: str,
        *,
        input: Any = None,
        output: Any = None,
        attrs: Mapping[str, Any] | None = None,
        status: str = "ok",
    ) -> tracing.Span:
        """A finished span ``tool:name`` of kind ``tool`` with what went into the tool and what came out."""
        from rundial import tracing

        return tracing.tool_call(self, name, input=input, output=output, attrs=attrs, status=status)

    def log_artifact(
        self,
        path_or_dir: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        keep_last: int | None = None,
        retention_policy: Mapping[str, Any] | None = None,
        step: int | None = None,
    ) -> bool:
        """Store a file, a folder, or a reference to a URI as a new version of an artifact. See ``docs/artifacts.md``.

        Returns before anything is read: hashing and uploading go on in the background, after a crash too.

        Args:
            path_or_dir: a file or folder on disk, or a URI such as ``s3://bucket/key``, which is only pointed to.
            name: default the file's own name.
            type: any word, such as ``model`` or ``dataset``.
            aliases: names this version has until another takes them; ``latest`` goes to the newest by itself.
            metadata: what to know about it.
            keep_last: how many versions the server keeps; ``retention_policy`` is its longer form.
            step: the step it belongs to.

        Returns:
            False when it could not be staged; that is counted and warned about once.
        """
        from rundial import artifacts

        pipeline = self._writable()
        if pipeline is None:
            return self.status == "running"
        return artifacts.log_artifact(
            pipeline, path_or_dir, name, type, aliases, metadata, keep_last, retention_policy, step
        )

    def log_code(self, root: str | os.PathLike[str] | None = None) -> bool:
        """Keep the code as an artifact, as the option ``snapshot_code`` does. Returns at once.

        Args:
            root: the folder to pack; None for the option ``workspace_root``.
        """
        from rundial.snapshot import code_snapshot

        pipeline = self._writable()
        if pipeline is None:
            return self.status == "running"
        snapshot = code_snapshot(pipeline, self._settings, root)
        snapshot.start()
        self._sources.append(snapshot.stop)
        return True

    def watch(self, model: Any, log: str = "gradients", log_freq: int = 1000) -> Any:
        """Log histograms of a torch model's gradients or parameters; see ``docs/integrations/pytorch.md``.

        Args:
            model: a ``torch.nn.Module``.
            log: ``gradients``, ``parameters`` or ``all``.
            log_freq: how many backward passes lie between two.
        """
        from importlib import import_module  # the integrations stand above this module

        return import_module("rundial.integrations.pytorch").watch(self, model, log, log_freq)

    def checkpoint(
        self,
        model_path: Any,
        *,
        step: int | None = None,
        name: str = "checkpoint",
        metadata: Mapping[str, Any] | None = None,
        keep_last: int | None = 5,
        aliases: Sequence[str] | None = None,
    ) -> bool:
        """Store a checkpoint: an artifact of type ``checkpoint`` with the alias ``latest``, marked on the charts.

        Args:
            model_path: a file or a folder.
            step: the step it was saved at.
            keep_last: how many the server keeps, None for all.
        """
        stored = self.log_artifact(
            model_path,
            name,
            "checkpoint",
            ["latest", *(aliases or ())],
            {**(metadata or {}), **({} if step is None else {"step": step})},
            keep_last=keep_last,
            step=step,
        )
        if stored:
            self.event(name, step=step, kind="checkpoint", path=str(model_path))
        return stored

    def use_artifact(self, artifact_ref: str) -> artifacts.Artifact:
        """Look up an artifact of this project, note that this run uses it, and give a handle to download it.

        Waits for the server.

        Args:
            artifact_ref: ``name:alias``, ``name:v3``, or ``name`` for its latest version.

        Raises:
            RequestError: there is no such artifact, or no server answers.
        """
        from rundial import artifacts

        return artifacts.use(self._settings, self._begin, artifact_ref)

    def log_image(
        self,
        key: str,
        image: Any,
        step: int | None = None,
        caption: str | None = None,
        format: str = "png",
        quality: int = 90,
    ) -> bool:
        """Log one image; as :meth:`log` of an :class:`Image`, but without a step it takes none of its own."""
        from rundial.media import Image

        item = Image(image, caption=caption, format=format, quality=quality)
        if step is not None:
            return self.log({key: item}, step=step)
        upcoming = upcoming_step(self)
        stored = self.log({key: item}, step=max(upcoming - 1, 0))
        self._steps = count(upcoming)
        return stored

    def log_eval_result(
        self,
        eval_run_id: str,
        example_id: str,
        *,
        scores: Mapping[str, Any],
        passed: Any = None,
        trace: Any = None,
        evidence: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Log what scorers said of one example; see ``docs/evals.md``."""
        from rundial.eval_results import log_result

        pipeline = self._writable()
        if pipeline is None:
            return self.status == "running"
        return log_result(pipeline, eval_run_id, example_id, scores, passed, trace, evidence, meta)

    def log_config(
        self, args: Any = None, extra: Mapping[str, Any] | None = None, config_files: Sequence[Any] | None = None
    ) -> bool:
        """Merge parsed arguments and further values into the configuration, and keep configuration files.

        Args:
            args: a namespace, dataclass or mapping.
            extra: further values; they win.
            config_files: files stored as an artifact of type ``config``.
        """
        done = [self.update_config(values) for values in (args, extra) if values is not None]
        done += [self.log_artifact(path, type="config") for path in config_files or ()]
        return all(done)

    def update_config(self, config: Mapping[str, Any] | object) -> bool:
        """Merge values into the configuration, key by key, nested ones too. Does not wait for the server."""
        return hyper_parameters.update(self, config)

    def _update(self, **changes: Any) -> bool:
        pipeline = self._writable()
        return self.status == "running" if pipeline is None else pipeline.emit(RunUpdate(_now(), **changes))

    def _writable(self) -> Pipeline | None:
        """The pipeline; None for a run that logs nothing, or nothing more, which is counted."""
        pipeline = self._pipeline
        if pipeline is not None and self.status != "running":
            finishing.refuse(self)
            return None
        return pipeline

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
        self,
        timeout_seconds: float | None = None,
        *,
        status: RunStatus = "completed",
        reason: str | None = None,
        time_ms: int | None = None,
    ) -> bool:
        """End the run and wait for delivery. A second call changes nothing.

        Args:
            timeout_seconds: the longest to wait; it returns within half a second of it. None waits for the option
                ``finish_timeout`` but not for a server that does not answer.
            status: ``completed``, ``failed``, ``aborted`` or ``crashed``.
            reason: why, at most 512 characters.
            time_ms: when the run ended, as Unix time in milliseconds, for one that is brought in; left out, now.

        Returns:
            True when a server has acknowledged everything. Otherwise the rest is on disk, and one line says how much
            and how to send it.
        """
        ended = None if time_ms is None or self._opened is None else moment_of(self._opened, time_ms)
        return self._finish(Ending(status, reason, None, timeout_seconds, ended), patient=timeout_seconds is not None)

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
        return finishing.end(self, ending, patient)

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

    def _start(self, resumes: bool = False) -> None:
        """Begin delivery. Wait for a configured server's verdict: raises its refusal, goes on from the last step.

        The local server is waited for when it has to know the run, and where that left off. What lies on this machine
        may be further than what a server has.
        """
        pipeline = self._pipeline
        if pipeline is None:
            return
        asks = self._settings.endpoint is not None or (resumes and local_server() is not None)
        waits = asks and self._settings.mode == "online"
        left_here = _left_here(self.id) if resumes else None
        pipeline.start(self._meet, awaited=waits)
        refusal = pipeline.wait_for_verdict(self._settings.init_timeout) if waits else None
        if refusal is not None:
            finishing.open_runs.remove(self)
            pipeline.discard()
            raise refusal
        last_steps = [left_here, (pipeline.worker.run or {}).get("lastStep") if waits else None]
        self._steps = count(1 + max((step for step in last_steps if isinstance(step, int)), default=-1))

    def _meet(self, known: dict[str, Any]) -> None:
        """Take over what the server says about this run."""
        first = self.url is None
        self.url = known.get("url")
        self.name = known.get("name") or self.name
        if first and self.url and not self._settings.quiet:
            say(f"{self.name} {self.url}")

    def __repr__(self) -> str:
        return f"<Run {self.name} {self.id} {self.status}>"


def _left_here(run_id: str) -> int | None:
    from rundial.left_off import last_step  # few runs are resumed

    return last_step(run_id, own_streams())


def _ignore(record: bytes) -> bool:
    return True


def _arrive(begin: bytes, options: dict[str, Any], name: str, url: str | None) -> Run:
    """A run out of its pickle: this process's own if it is here, else a handle of it."""
    start = msgspec.msgpack.decode(begin, type=RunStart)
    for run in finishing.open_runs:
        if run.id == start.run_id and run._pid == os.getpid():
            return run
    start = msgspec.structs.replace(start, time_ns=_now(), pid=os.getpid(), part=True, resume="allow", config={})
    settings = Settings(**options)
    run = Run(start, settings, None)
    run.name, run.url = name, url
    if not start_of_run.is_silent(settings, start.rank):
        run._unopened = True
        run._offer = run._offer_first
    return run
