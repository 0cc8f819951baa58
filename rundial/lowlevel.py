"""The low-level client: every run by its id, for programs that lead many runs or only add to them.

``rundial.Client``. For a training script :func:`rundial.init` is simpler.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import msgspec

from rundial import runs
from rundial.client import HttpClient
from rundial.config import DEFAULT_PROJECT, DEFAULT_WORKSPACE, Distributed, Mode, resolve
from rundial.current import current_run, set_current_run
from rundial.diagnostics import Diagnostics, added, warn
from rundial.distributed import detect_rank
from rundial.errors import ConfigError
from rundial.evals import EvalSuite, suite
from rundial.events import ResumeMode, RunKind, RunStart
from rundial.http import Json
from rundial.reading import StoredRun
from rundial.runs import Run
from rundial.start import identifier
from rundial.wire import encode

if TYPE_CHECKING:
    from rundial import artifacts


class Client(HttpClient):
    """Logs into runs by their ids, reads from a server and administers it.

    Logging never waits and never raises, as with :class:`Run`; the methods of :class:`HttpClient` wait for their
    answers and raise. Making a client opens nothing: no thread, file or connection.

    Args:
        endpoint: base URL of a server; None: the configured one, else this machine's own store.
        mode, distributed, distributed_rank, api_key: as in :func:`rundial.init`.
        session_token: of a browser's session, for the calls that read and administer.
        system_metrics_provider: as in :func:`rundial.init`, for the runs that are started here.
        options: further options of ``docs/settings.md``.

    Raises:
        ConfigError: an unknown option, or a value that cannot be right.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        mode: Mode | None = None,
        distributed: Distributed | None = None,
        distributed_rank: int | None = None,
        api_key: str | None = None,
        session_token: str | None = None,
        system_metrics_provider: Callable[[], Mapping[str, float]] | None = None,
        **options: Any,
    ) -> None:
        given = {"mode": mode, "distributed": distributed, "distributed_rank": distributed_rank, **options}
        self._settings = resolve({"endpoint": endpoint, "api_key": api_key, **given})
        self._provider = system_metrics_provider
        super().__init__(
            self._settings.endpoint,
            api_key=self._settings.api_key,
            session_token=session_token,
            request_timeout_seconds=self._settings.request_timeout_seconds,
        )
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._started: dict[str, Run] = {}
        self._eval_runs: dict[str, str] = {}

    # -- the client itself ----------------------------------------------------------------------------------------

    def health(self) -> dict[str, str]:
        """How this client is set up, without asking a server."""
        rank = detect_rank(self._settings.distributed_rank)
        logs = self._settings.mode != "disabled" and (rank == 0 or self._settings.distributed == "all")
        return {
            "status": self.diagnostics().health,
            "endpoint": self.endpoint,
            "mode": self._settings.mode,
            "distributed": self._settings.distributed,
            "rank": str(rank),
            "loggingEnabled": str(logs).lower(),
        }

    def start(self) -> None:
        """Nothing: threads start with the first record of each run."""

    def diagnostics(self) -> Diagnostics:
        """The accounts of all runs this client knows, added up."""
        return added([run.diagnostics() for run in self._known()])

    def flush(self, timeout_seconds: float | None = None) -> bool:
        """Wait until everything logged through this client is acknowledged, or written where no server is to have it.

        Args:
            timeout_seconds: the longest to wait in all; None for the option ``finish_timeout``.
        """
        limit = self._settings.finish_timeout if timeout_seconds is None else timeout_seconds
        deadline = time.monotonic() + limit
        done = [run.flush(max(0.0, deadline - time.monotonic())) for run in self._known()]
        return all(done)

    def close(self, timeout_seconds: float = 5.0, *, drain: bool = True) -> bool:
        """Let go of threads and connections. No run ends by this; those started here go on until they are finished.

        Args:
            timeout_seconds: the longest to wait for delivery in all; what is left by then stays on disk.
            drain: wait for delivery at all.

        Returns:
            True when everything logged through this client is acknowledged.
        """
        if self._closed:
            return True
        self.close_session()
        deadline = time.monotonic() + timeout_seconds
        with self._lock:
            own, started = list(self._runs.values()), list(self._started.values())
        done = [run.finish(max(0.0, deadline - time.monotonic()) if drain else 0.0) for run in own]
        if drain:
            done += [run.flush(max(0.0, deadline - time.monotonic())) for run in started]
        return all(done)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- runs -----------------------------------------------------------------------------------------------------

    def start_run(
        self,
        project_id: str,
        *,
        run_id: str | None = None,
        kind: RunKind = "training",
        resume: ResumeMode = "never",
        run_name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
        workspace: str | None = None,
    ) -> Run:
        """Start a run, or go on with one; :func:`rundial.init` with this client's settings.

        It does not become the current run. ``project_id`` may be an id, a slug or a name.

        Raises:
            ConfigError, RequestError: as :func:`rundial.init`.
        """
        settings = msgspec.structs.asdict(self._settings)
        settings |= {"project": project_id, "workspace": workspace or self._settings.workspace}
        before = current_run()
        run = runs.init(
            name=run_name,
            run_id=run_id,
            kind=kind,
            resume=resume,
            group=group,
            job_type=job_type,
            tags=tags,
            config=config,
            system_metrics_provider=self._provider,
            **settings,
        )
        set_current_run(before)
        with self._lock:
            self._started[run.id] = run
        return run

    def start_run_for_workspace_project(
        self,
        *,
        workspace: str | None = None,
        project: str | None = None,
        workspace_slug: str | None = None,
        project_slug: str | None = None,
        **arguments: Any,
    ) -> Run:
        """:meth:`start_run` by the names of workspace and project.

        Raises:
            ConfigError: no project; otherwise as :meth:`start_run`.
        """
        name = project or project_slug
        if not name:
            raise ConfigError("start_run_for_workspace_project() needs project=.")
        return self.start_run(name, workspace=workspace or workspace_slug, **arguments)

    @overload
    def run(self, run_id: str, /) -> StoredRun: ...
    @overload
    def run(self, *, run_id: str) -> StoredRun: ...
    @overload
    def run(
        self, project_id: str, run_id: str, kind: RunKind = "training", config: Mapping[str, Any] | None = None
    ) -> Run: ...
    def run(
        self,
        project_id: str | None = None,
        run_id: str | None = None,
        kind: RunKind = "training",
        config: Mapping[str, Any] | None = None,
    ) -> Run | StoredRun:
        """A run by its id: alone, what the server has of it; with its project, a handle that logs into it.

        The handle asks no server: the run is attached to if it is there, and made with its first record if not. What
        it logs joins the run; its end is not the end of the run, which whoever started it ends.

        Raises:
            RequestError: the id came alone, and the server knows no such run.
            ConfigError: an id that cannot be one, or none at all.
        """
        if project_id is None or run_id is None:
            alone = run_id or project_id
            if not alone:
                raise ConfigError("run() needs the id of a run.")
            return self.stored_run(alone)
        run = self._part(project_id, run_id, kind)
        if config:
            run.update_config(config)
        return run

    def _place(self, workspace: str | None, project: str | None) -> tuple[str, str]:
        own = self._settings
        return workspace or own.workspace or DEFAULT_WORKSPACE, project or own.project or DEFAULT_PROJECT

    def _part(self, project_id: str, run_id: str, kind: RunKind = "training") -> Run:
        """One handle for each run: it opens a stream of its own when it first logs."""
        with self._lock:
            known = self._started.get(run_id) or self._runs.get(run_id)
            if known is not None and known.status == "running":
                return known
            settings = msgspec.structs.replace(self._settings, project=project_id)
            start = RunStart(
                time_ns=time.time_ns(),
                run_id=identifier(run_id),
                workspace=settings.workspace,
                project=project_id,
                name=run_id,
                kind=kind,
                rank=detect_rank(settings.distributed_rank),
            )
            run = runs._arrive(encode(start), msgspec.structs.asdict(settings), run_id, None)
            # A run that this process leads already is handed out as it is, and is not this client's to close.
            (self._runs if run._begin.part else self._started)[run_id] = run
            return run

    def _known(self) -> list[Run]:
        with self._lock:
            return [*self._started.values(), *self._runs.values()]

    # -- logging --------------------------------------------------------------------------------------------------

    def log_metric(
        self,
        project_id: str,
        run_id: str,
        metric_key: str,
        step: int | None = None,
        value: Any = None,
        *,
        timestamp_ms: int | None = None,
        time_ms: int | None = None,
        context: Mapping[str, str] | None = None,
    ) -> bool:
        """Log one value; see :meth:`Run.log_metric`."""
        moment = timestamp_ms if time_ms is None else time_ms

        def call(run: Run) -> bool:
            return run.log_metric(metric_key, value, step=step, time_ms=moment, context=context)

        return self._log(project_id, run_id, call)

    def log_text(
        self,
        project_id: str,
        run_id: str,
        message: Any,
        level: str = "info",
        *,
        timestamp_ms: int | None = None,
        time_ms: int | None = None,
    ) -> bool:
        """Log a line; see :meth:`Run.log_text`."""
        moment = timestamp_ms if time_ms is None else time_ms
        return self._log(project_id, run_id, lambda run: run.log_text(message, level, time_ms=moment))

    def log_eval_result(
        self,
        project_id: str,
        eval_run_id: str,
        example_id: str,
        scores: Mapping[str, Any],
        *,
        passed: Any = None,
        trace_id: str | None = None,
        evidence_ref: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Log what scorers said of one example; see :meth:`Run.log_eval_result`.

        The results of an eval run that was not made by this client go through a run of their own and join it on the
        server.
        """
        run_id = self._eval_runs.get(eval_run_id, eval_run_id)

        def call(run: Run) -> bool:
            return run.log_eval_result(
                eval_run_id, example_id, scores=scores, passed=passed, trace=trace_id, evidence=evidence_ref, meta=meta
            )

        return self._log(project_id, run_id, call, "eval")

    def log_artifact(
        self,
        project_id: str,
        run_id: str,
        path_or_dir: Any,
        *,
        name: str | None = None,
        artifact_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        aliases: Sequence[str] | None = None,
        retention_policy: Mapping[str, Any] | None = None,
    ) -> bool:
        """Store a file or folder as an artifact; see :meth:`Run.log_artifact`."""

        def call(run: Run) -> bool:
            return run.log_artifact(
                path_or_dir, name, artifact_type, aliases, metadata, retention_policy=retention_policy
            )

        return self._log(project_id, run_id, call)

    def log_media(
        self,
        project_id: str,
        run_id: str,
        media_key: str,
        value: Any,
        *,
        step: int | None = None,
        timestamp_ms: int | None = None,
    ) -> bool:
        """Log an image, a table or other media; see :meth:`Run.log`."""
        return self._log(project_id, run_id, lambda run: run.log({media_key: value}, step=step, time_ms=timestamp_ms))

    def use_artifact(self, project_id: str, run_id: str, artifact_ref: str) -> artifacts.Artifact:
        """Look up an artifact and note that the run uses it; see :meth:`Run.use_artifact`."""
        return self._part(project_id, run_id).use_artifact(artifact_ref)

    def _log(self, project_id: str, run_id: str, call: Callable[[Run], bool], kind: RunKind = "training") -> bool:
        if self._closed:
            warn("a client that is closed logs nothing.")
            return False
        try:
            run = self._part(str(project_id), str(run_id), kind)
        except ConfigError as error:  # an id that cannot be one
            warn(str(error))
            return False
        return call(run)

    # -- evaluations ----------------------------------------------------------------------------------------------

    def eval_suite(self, name: str, **arguments: Any) -> EvalSuite:
        """A suite whose runs have this client's settings; see :func:`rundial.evals.suite`."""
        own = msgspec.structs.asdict(self._settings)
        if arguments.get("project_id") is not None:
            own.pop("project")
        return suite(name, **{**own, **arguments})

    def create_eval_run(self, project_id: str, suite_id: str, **arguments: Any) -> Json:
        """Begin a run of a suite; see :meth:`HttpClient.create_eval_run`. Its results go into its run."""
        made = super().create_eval_run(project_id, suite_id, **arguments)
        found = made["evalRun"]
        self._eval_runs[found["evalRunId"]] = found["runId"]
        return made


RundialClient = Client
