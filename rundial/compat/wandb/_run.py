"""The run that ``wandb.init`` gives: W&B's names over :class:`rundial.Run`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rundial import runs
from rundial.compat.wandb import _files, _folder, _metric
from rundial.compat.wandb._config import Config
from rundial.compat.wandb._run_facts import RunFacts
from rundial.compat.wandb._settings import Settings
from rundial.compat.wandb._summary import Summary
from rundial.compat.wandb._values import Row, row_of
from rundial.compat.wandb.errors import UsageError
from rundial.events import RunUpdate
from rundial.values import Media, is_media, plain, step_number

PUBLISH_SECONDS = 2.0
"""How often what ``define_metric`` keeps in the summary is sent while the run goes on."""


class Run(RunFacts):
    """A run.

    Args:
        sink: where everything goes.
        settings: what ``init`` was told, with the environment's share.
        config: the configuration; from here on it publishes to the sink.
        entity: whose run it is; kept, and not looked up anywhere.
        project: the project's name as it was given.
        files: the run's folder for files; None for a disabled run, which makes it when it is asked for.
        on_finish: told when the run ends.
    """

    def __init__(
        self,
        sink: runs.Run,
        settings: Settings,
        config: Config,
        entity: str,
        project: str,
        files: Path | None,
        on_finish: Callable[[Run], None],
    ) -> None:
        super().__init__(sink, settings, config, entity, project, files)
        self.resumed = False
        self.starting_step = 0
        self.start_time = time.time()
        self.saved: dict[str, tuple[float, int]] = {}
        """Files that are stored, and how they were then."""
        self._on_finish = on_finish
        self._open = -1
        """The step at which the last row that was not committed stands."""
        self._latest: dict[str, Any] = {}
        self._set: dict[str, Any] = {}
        self._kept: dict[str, Any] = {}
        self._published = 0.0
        self._definitions = _metric.Definitions()
        self._send = sink.log
        self._plain = True
        self._ended = False
        config.__dict__["_publish"] = self._set_config
        self._summary = Summary(self._latest, self._set_summary, self._facts)

    # -- logging --------------------------------------------------------------------------------------------------

    def log(
        self, data: Any = None, step: int | None = None, commit: bool | None = None, sync: bool | None = None
    ) -> None:
        """Log values at the present step.

        Args:
            data: names to numbers, texts, media, charts and nested mappings of them; left out, the step just ends.
            step: the step it belongs to; one that has passed is kept, too.
            commit: whether the step ends with this call. Left out, it does unless ``step`` is given.
            sync: of older versions; no effect.

        Raises:
            UsageError: the run has ended.
        """
        try:
            # As in rundial.Run.log: plain finite numbers are recognised by their sum, and take the short way.
            if step is None and commit is None and self._plain:
                total = sum(data.values())
                kind = total.__class__
                if (kind is float or kind is int) and total - total == 0:
                    at = self._step
                    self._step = at + 1
                    self._latest.update(data)
                    self._send(data, step=at)
                    return
        except Exception:  # noqa: BLE001, S110 - whatever it is, the careful way sorts it
            pass
        self._log_slowly(data, step, commit)

    def _log_slowly(self, data: Any, step: Any, commit: bool | None) -> None:
        self._check("log")
        if data is not None and not isinstance(data, Mapping):
            self._send(data)  # it warns and counts
            return
        at = self._step
        if step is not None:
            try:
                at = step_number(step)
            except Exception:  # noqa: BLE001 - an object's own __int__ may raise anything; the run says what is wrong
                self._send({}, step=step)
        if data:
            self._log_row(row_of(data), at)
        self._step = max(self._step, at)
        if step is None if commit is None else commit:
            self._step += 1

    def note_event(self, row: Row, at: int) -> None:
        """Take what an event of TensorBoard holds into the summary; each of its names counts its own steps."""
        self._latest.update(row.latest)
        self._latest["global_step"] = at
        self._step = self._open = max(self._step, at)

    def _log_row(self, row: Row, at: int) -> None:
        current = at >= self._step
        self._step = self._open = max(self._step, at)
        if self._definitions:
            self._apply_definitions(row, current)
        if current:
            self._latest.update(row.latest)
        if row.sent:
            self._send(row.sent, step=at)
        for name, trace in row.traces.items():
            trace.send_spans(self.sink, name)

    def _apply_definitions(self, row: Row, current: bool) -> None:
        for key in list(row.sent):
            definition = self._definitions.of(key)
            if definition is None:
                continue
            over = definition.step_metric
            if current and definition.step_sync and over and over not in row.sent and over in self._latest:
                row.sent[over] = self._latest[over]
            if "none" in definition.summary:
                row.latest.pop(key, None)
            elif definition.summary and key in row.numbers:
                number = row.numbers[key]
                row.latest.pop(key, None)
                value = self._definitions.summarise(definition, key, number, self._latest.get(key))
                self._latest[key] = self._kept[key] = value
        if self._kept and time.monotonic() - self._published > PUBLISH_SECONDS:
            self._publish_kept()

    def _publish_kept(self) -> None:
        self._published = time.monotonic()
        self.sink.summary.update(self._kept)
        self._kept = {}

    def _check(self, name: str) -> None:
        if self._ended:
            raise UsageError(
                f"Run ({self.id}) is finished. The call to `{name}` will be ignored. "
                "Please make sure that you are using an active run."
            )

    def define_metric(
        self,
        name: str,
        step_metric: Any = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        goal: str | None = None,
        overwrite: bool | None = None,
    ) -> _metric.Metric:
        """Say how a metric is summarised and what it is drawn over.

        Args:
            name: a metric, or the beginning of several, with ``*`` at its end.
            step_metric: the metric on the horizontal axis.
            step_sync: whether its last value is added to rows that lack it; left out, it is.
            hidden: whether charts leave it out.
            summary: of ``min``, ``max``, ``mean``, ``last``, ``first``, ``best``, ``none``, with commas between.
            goal: ``minimize`` or ``maximize``, for ``best``.
            overwrite: whether what an earlier call said is forgotten.

        Raises:
            Error: an argument that is none of these.
        """
        self._check("define_metric")
        definition = _metric.metric(name, step_metric, step_sync, hidden, summary, goal)
        self._definitions.add(definition, overwrite)
        self._plain = False
        self.sink.update_config({"_wandb": {"metrics": {m["name"]: m for m in self._definitions.documents()}}})
        return definition

    def _set_config(self, values: dict[str, Any]) -> None:
        self._check("config")
        self.sink.update_config(values)

    # -- summary --------------------------------------------------------------------------------------------------

    @property
    def summary(self) -> Summary:
        """The last value of each metric, and what the script sets."""
        return self._summary

    def _set_summary(self, values: dict[str, Any]) -> None:
        self._check("summary")
        plain_values: dict[str, Any] = {}
        for key, value in values.items():
            row = row_of({key: value})
            if isinstance(value, Media) or is_media(value) or hasattr(value, "as_media"):
                self._send(row.sent, step=self._step)
            self._latest[key] = row.latest.get(key, value)
            plain_values[key] = plain(self._latest[key])
        self._set.update(plain_values)
        self.sink.summary.update(plain_values)

    def _facts(self) -> dict[str, Any]:
        if not self._latest:
            return {}
        now = time.time()
        return {"_step": self.last_step, "_runtime": now - self.start_time, "_timestamp": now}

    def settle(self) -> None:
        """Send what the summary holds and the server cannot know: kept values, and those that were set, then logged."""
        newer = {key: plain(self._latest.get(key)) for key in self._set if key in self._latest}
        self._kept.update({key: value for key, value in newer.items() if value != self._set[key]})
        if self._kept:
            pipeline = self.sink._opened
            if pipeline is not None and not pipeline.closed:
                pipeline.emit(RunUpdate(time.time_ns(), summary=plain(self._kept)))
            self._kept = {}

    @property
    def last_step(self) -> int:
        """The step of the last row."""
        return self._step if self._open == self._step else max(self._step - 1, 0)

    def __repr__(self) -> str:
        return f"<Run {self.name} {self.id}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Run:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return arrive, (self.sink, self.settings, self.config.as_dict(), self.entity, self.project, self._step)

    # -- files, models, code --------------------------------------------------------------------------------------

    def save(self, glob_str: Any = None, base_path: Any = None, policy: str = "live", glob: bool = True) -> Any:
        """Make files part of the run; see :func:`rundial.compat.wandb._files.save`."""
        self._check("save")
        return True if glob_str is None else _files.save(self, glob_str, base_path, policy, glob)

    def restore(
        self, name: str, run_path: str | None = None, replace: bool = False, root: str | None = None
    ) -> TextIO | None:
        """Bring and open a file that a run saved; see :func:`rundial.compat.wandb._files.restore`."""
        return _files.restore(self, name, run_path, replace, root)

    def log_code(
        self,
        root: str | None = ".",
        name: str | None = None,
        include_fn: Any = None,
        exclude_fn: Any = None,
    ) -> Any:
        """Keep the code below ``root`` as an artifact of type ``code``: what the two functions let through.

        Args:
            root: the folder.
            name: of the artifact.
            include_fn: takes a path, and the root if it takes two; left out, files that end in ``.py``.
            exclude_fn: of the same form; left out, none.

        Returns:
            The artifact; None when there is no such file.
        """
        self._check("log_code")
        from rundial.compat.wandb._code import code_artifact

        artifact = code_artifact(self, Path(root or "."), name, include_fn, exclude_fn)
        return None if artifact is None else self.log_artifact(artifact)

    def watch(
        self,
        models: Any,
        criterion: Any = None,
        log: str | None = "gradients",
        log_freq: int = 1000,
        idx: int | None = None,
        log_graph: bool = False,
    ) -> None:
        """Log histograms of the gradients or parameters of PyTorch models; see ``docs/integrations/pytorch.md``."""
        self._check("watch")
        from rundial.compat.wandb._watch import watch

        watch(self, models, log, log_freq, idx, log_graph)

    def unwatch(self, models: Any = None) -> None:
        """Stop watching these models, or all."""
        from rundial.compat.wandb._watch import unwatch

        unwatch(models)

    def alert(self, title: str, text: str = "", level: Any = None, wait_duration: Any = None) -> None:
        """Raise an alert: a marker on the charts and a line in the log.

        Args:
            title, text: what it is about.
            level: ``INFO``, ``WARN`` or ``ERROR``.
            wait_duration: no effect: nobody is called, so nobody is called too often.
        """
        self._check("alert")
        self.sink.alert(title, text, str(getattr(level, "value", level) or "info").lower())

    def mark_preempting(self) -> None:
        """Note that the machine is about to be taken away."""
        self.sink.event("preempting", kind="preempting")

    def status(self) -> Any:
        """How much of it waits to be sent; see :meth:`rundial.Run.diagnostics`."""
        return self.sink.diagnostics()

    def __getattr__(self, name: str) -> Any:
        if name in _ARTIFACT_CALLS:
            from rundial.compat.wandb import _artifact

            call = getattr(_artifact, name)
            return lambda *args, **kwargs: call(self, *args, **kwargs)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _label(self, *args: Any, **kwargs: Any) -> None:
        """W&B's own telemetry; nothing."""

    def _set_config_wandb(self, *args: Any, **kwargs: Any) -> None:
        """W&B's own telemetry; nothing."""

    # -- ending ---------------------------------------------------------------------------------------------------

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """End the run: completed, or failed when ``exit_code`` is not 0. A second call does nothing."""
        if self._begin_end():
            status: Any = "failed" if exit_code else "completed"
            self.sink.finish(status=status, reason=f"exit code {exit_code}" if exit_code else None)

    join = finish

    def stop(self) -> None:
        """The same as :meth:`finish`."""
        self.finish()

    def _begin_end(self) -> bool:
        """Store what is left, and say goodbye to those who hold the run. False when it has ended already."""
        if self._ended:
            return False
        self.before_exit()
        self._ended = True
        self._plain = False
        self._on_finish(self)
        return True

    def before_exit(self) -> None:
        """Store what only the end can know. May be called again."""
        if self._ended or self.sink.status != "running" or self.disabled:
            return
        self.settle()
        if self._files is not None:
            _files.store_rest(self)
            _folder.note_state(self._files, self.last_step, plain(self._latest), self.config.as_dict())

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begin_end():
            self.sink.__exit__(kind, error, trace)


_ARTIFACT_CALLS = frozenset(
    {
        "log_artifact",
        "upsert_artifact",
        "finish_artifact",
        "use_artifact",
        "link_artifact",
        "log_model",
        "use_model",
        "link_model",
    }
)


def arrive(sink: runs.Run, settings: Settings, config: Mapping[str, Any], entity: str, project: str, step: int) -> Run:
    """A run that came to another process: a handle that logs to the same one."""
    package = sys.modules["rundial.compat.wandb"]
    current: Run | None = getattr(package, "run", None)
    if current is not None and current.id == sink.id:
        return current
    values = Config(may_change=True)
    values._items.update(config)
    run = Run(sink, settings, values, entity, project, None, lambda run: None)
    run._step = run.starting_step = step
    return run
