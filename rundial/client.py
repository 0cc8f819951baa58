"""A server's HTTP interface, typed: reading and administering. ``docs/http.md`` describes the routes.

Every call waits for its answer. Logging does not: it is :mod:`rundial.lowlevel`, which builds on this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlencode

from rundial.accounts import Accounts
from rundial.config import DEFAULT_PROJECT, DEFAULT_WORKSPACE, resolve
from rundial.http import Json, given, next_cursor, route
from rundial.reading import History, Runs, StoredRun, stored_run, wanted_runs
from rundial.version import __version__


class HttpClient(Accounts):
    """Reads from a server and administers it; arguments as :class:`HttpSession` has them.

    Every method raises :class:`AuthError` when the key is refused, :class:`UnreachableError` when no answer comes and
    :class:`RequestError` for any other answer that is no success.
    """

    # -- runs -----------------------------------------------------------------------------------------------------

    def query_runs(
        self,
        workspace_slug: str,
        project_slug: str,
        *,
        limit: int = 25,
        order: Literal["asc", "desc"] = "desc",
        order_by: str = "startedAtMs",
        cursor: str | None = None,
        search: str | None = None,
        statuses: Sequence[str] | None = None,
    ) -> Json:
        """A page of a project's runs.

        Args:
            order_by: ``runId``, ``startedAtMs``, ``updatedAtMs``, ``runName``, ``status``, ``duration``,
                ``config.KEY`` or ``summary.KEY``.
            search: a part of the name or id.
            statuses: only these.
        """
        query = {"limit": limit, "order": order, "orderBy": order_by, "cursor": cursor, "search": search}
        chosen = ",".join(statuses) if statuses else None
        path = route("workspaces", workspace_slug, "projects", project_slug, "runs", "query")
        return self.call("run query", "GET", path, query={**query, "statuses": chosen})

    def get_run_details(self, workspace_slug: str, project_slug: str, run_id: str) -> Json:
        """A run with its attempts."""
        return self.call(
            "run status", "GET", route("workspaces", workspace_slug, "projects", project_slug, "runs", run_id)
        )

    def get_run(self, run_id: str) -> Json:
        """A run with its attempts, in whichever project it is."""
        return self.call("run status", "GET", route("runs", run_id))

    def create_run(
        self,
        project_id: str,
        *,
        run_id: str | None = None,
        run_name: str | None = None,
        kind: str = "training",
        resume: str = "never",
        group: str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Json:
        """Begin a run that others log into, or that is only kept; it lasts until its status is set."""
        body = given(projectId=project_id, runId=run_id, runName=run_name, kind=kind, resume=resume, group=group)
        more = given(jobType=job_type, tags=list(tags) if tags else None, config=dict(config) if config else None)
        client = {"name": "rundial-cli", "version": __version__}
        return self.call("run start", "POST", "/runs/start", {**body, **more, "client": client})

    def update_run(
        self, run_id: str, *, name: str | None = None, tags: Sequence[str] | None = None, notes: str | None = None
    ) -> Json:
        """Change what a run is called or marked with; what is None stays. ``tags`` are all it has from then on."""
        body = given(name=name, tags=None if tags is None else list(tags), notes=notes)
        return self.call("run update", "PATCH", route("runs", run_id), body)

    def edit_runs(
        self,
        run_ids: Sequence[str],
        *,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
        archived: bool | None = None,
    ) -> int:
        """Tag runs and put them into the archive or out of it; how many there were."""
        body = given(runIds=list(run_ids), addTags=list(add_tags), removeTags=list(remove_tags), archived=archived)
        return int(self.call("run update", "POST", "/runs/edit", body)["runs"])

    def delete_runs(self, run_ids: Sequence[str]) -> Json:
        """Delete runs: ``runs`` says how many there were, ``purgedAtMs`` until when they can be restored."""
        return self.call("run deletion", "POST", "/runs/delete", {"runIds": list(run_ids)})

    def restore_runs(self, run_ids: Sequence[str]) -> int:
        """Take back a deletion; how many runs are there again."""
        return int(self.call("run restoration", "POST", "/runs/restore", {"runIds": list(run_ids)})["runs"])

    def update_run_status(
        self,
        run_id: str,
        status: Literal["completed", "failed", "aborted"],
        finished_at_ms: int | None = None,
        reason: str | None = None,
    ) -> Json:
        """End a run from outside."""
        body = given(status=status, finishedAtMs=finished_at_ms, reason=reason)
        return self.call("run finish", "POST", route("runs", run_id, "status"), body)

    def runs(
        self,
        project: str | None = None,
        workspace: str | None = None,
        *,
        search: str | None = None,
        statuses: Sequence[str] | None = None,
        tags: Sequence[str] = (),
        group: str | None = None,
        kind: str | None = None,
        where: Callable[[StoredRun], bool] | None = None,
        order: Literal["asc", "desc"] = "desc",
        order_by: str = "startedAtMs",
        limit: int | None = None,
        page_size: int = 100,
    ) -> Runs:
        """The runs of a project, typed; they are asked for page by page while one goes through them.

        Args:
            project, workspace: slugs or ids; None for those that are configured.
            search, statuses: what the server looks for, as in :meth:`query_runs`.
            tags, group, kind: only runs with all of these tags, of this group, of this kind.
            where: only runs for which this is true.
            order_by: as in :meth:`query_runs`.
            limit: the most runs to give; None for all.
            page_size: runs to ask for at a time, at most 1000.

        Raises:
            ConfigError: a configuration that cannot be right.
        """
        place = self._place(workspace, project)

        def page(cursor: str | None) -> Json:
            return self.query_runs(
                *place,
                limit=page_size,
                order=order,
                order_by=order_by,
                cursor=cursor,
                search=search,
                statuses=statuses,
            )

        return Runs(self, page, wanted_runs([tags] if isinstance(tags, str) else tags, group, kind, where), limit)

    def _place(self, workspace: str | None, project: str | None) -> tuple[str, str]:
        settings = resolve({"workspace": workspace, "project": project})
        return settings.workspace or DEFAULT_WORKSPACE, settings.project or DEFAULT_PROJECT

    def stored_run(self, run_id: str) -> StoredRun:
        """A run by its id, typed, in whichever project it is."""
        return stored_run(self, self.get_run(run_id))

    def history(
        self,
        run: str | StoredRun,
        keys: Sequence[str] | None = None,
        *,
        x: str = "step",
        samples: int | None = None,
    ) -> History:
        """What a run logged, a row for each step; see :class:`rundial.reading.History`.

        Args:
            run: its id, or the run as :meth:`runs` gives it.
            keys: only these metrics; None for all but those of the machine.
            x: ``step``, ``relative``, ``wall`` or the name of a metric.
            samples: at most so many points of each metric; None for every one.
        """
        found = self.stored_run(run) if isinstance(run, str) else run
        return History(self, found, keys, x=x, samples=samples)

    # -- metrics and logs -----------------------------------------------------------------------------------------

    def list_metric_keys(self, project_id: str, run_id: str | None = None, *, limit: int = 8) -> list[Json]:
        """The metrics of a run, or of a project's newest runs."""
        query = {"projectId": project_id, "runId": run_id, "limit": limit}
        return list(self.call("metric key discovery", "GET", "/metrics/keys", query=query)["keys"])

    def query_series(
        self, project_id: str, run_id: str, metric_keys: Sequence[str], *, max_points_per_series: int | None = 25
    ) -> Json:
        """The latest value of each step, by step, in at most so many points; None for all of them."""
        body = given(projectId=project_id, runId=run_id, metricKeys=list(metric_keys), range="full_run", order="asc")
        body |= given(maxPointsPerSeries=max_points_per_series)
        return self.call("metrics tail", "POST", "/query/series", body)

    def export_metrics_page(
        self,
        project_id: str,
        run_id: str,
        start_ms: int,
        end_ms: int,
        *,
        metric_keys: Sequence[str] | None = None,
        limit: int = 1000,
        cursor: str | None = None,
    ) -> Json:
        """A page of raw points by time; ``start_ms`` and ``end_ms`` are Unix milliseconds, both included."""
        keys = list(metric_keys) if metric_keys else None
        body = given(projectId=project_id, runId=run_id, startMs=start_ms, endMs=end_ms, limit=limit, format="json")
        return self.call("metrics export", "POST", "/export/metrics", body | given(metricKeys=keys, cursor=cursor))

    def query_logs(
        self,
        project_id: str,
        run_id: str,
        *,
        limit: int = 100,
        min_level: str = "trace",
        text: str | None = None,
        cursor: str | None = None,
    ) -> Json:
        """A page of log lines, newest first."""
        body = given(projectId=project_id, runId=run_id, limit=limit, minLevel=min_level, order="desc")
        return self.call("logs tail", "POST", "/query/logs", body | given(text=text, cursor=cursor))

    def export_logs_page(
        self,
        project_id: str,
        run_id: str,
        start_ms: int,
        end_ms: int,
        *,
        limit: int = 1000,
        cursor: str | None = None,
    ) -> Json:
        """A page of log lines by time; ``start_ms`` and ``end_ms`` are Unix milliseconds, both included."""
        body = given(projectId=project_id, runId=run_id, startMs=start_ms, endMs=end_ms, limit=limit, format="json")
        return self.call("logs export", "POST", "/export/logs", body | given(cursor=cursor))

    # -- artifacts ------------------------------------------------------------------------------------------------

    def list_artifacts(
        self,
        *,
        project_id: str | None = None,
        run_id: str | None = None,
        name: str | None = None,
        artifact_type: str | None = None,
        limit: int = 100,
        max_pages: int = 10,
    ) -> list[Json]:
        """Versions of a project, newest first, or what a run made and used (``role``). One of the two must be given."""
        if run_id is not None:
            path = route("runs", run_id, "artifacts")
        else:
            path = route("projects", str(project_id), "artifacts")
        chosen = urlencode(given(name=name, type=artifact_type))
        return self.pages("artifact list", f"{path}?{chosen}", "artifacts", limit, max_pages)

    def get_artifact(self, artifact_id: str) -> Json:
        """A version with its ``metadata``, all its ``files``, ``madeBy`` and ``usedBy``."""
        path = route("artifacts", artifact_id)
        found = page = self.call("artifact query", "GET", path, query={"limit": 10_000})
        while (cursor := next_cursor(page)) is not None:
            page = self.call("artifact query", "GET", path, query={"limit": 10_000, "cursor": cursor})
            found["files"] += page["files"]
        return {name: value for name, value in found.items() if name != "page"}

    # -- evaluations ----------------------------------------------------------------------------------------------

    def create_eval_suite(
        self,
        project_id: str,
        name: str,
        dataset: Mapping[str, Any],
        scorers: Sequence[str | Mapping[str, Any]],
        *,
        org_id: str | None = None,
        suite_id: str | None = None,
    ) -> Json:
        """Make a suite, or give the one of this name another dataset and other scorers."""
        body = given(orgId=org_id, projectId=project_id, name=name, dataset=dict(dataset), suiteId=suite_id)
        body["scorers"] = [{"name": it} if isinstance(it, str) else dict(it) for it in scorers]
        return self.call("eval suite creation", "POST", "/evals/suites", body)

    def create_eval_run(
        self,
        project_id: str,
        suite_id: str,
        *,
        config: Mapping[str, Any] | None = None,
        org_id: str | None = None,
        run_id: str | None = None,
        eval_run_id: str | None = None,
    ) -> Json:
        """Begin a run of a suite, in a run that is there or in a new one of kind eval."""
        body = given(orgId=org_id, projectId=project_id, suiteId=suite_id, runId=run_id, evalRunId=eval_run_id)
        return self.call("eval run creation", "POST", "/evals/runs", {**body, "config": dict(config or {})})

    def query_eval_diff(
        self,
        project_id: str,
        baseline_eval_run_id: str,
        candidate_eval_run_id: str,
        *,
        limit: int = 100,
        scorer: str | None = None,
        cursor: str | None = None,
    ) -> Json:
        """What changed from one eval run to another: all rows, or with a ``cursor`` the one page that begins there.

        Args:
            limit: rows to ask for at a time.
            scorer: only what this one said.
        """
        body = given(projectId=project_id, baselineEvalRunId=baseline_eval_run_id, limit=limit, scorer=scorer)
        body["candidateEvalRunId"] = candidate_eval_run_id
        page = self.call("eval diff query", "POST", "/query/evals/diff", body | given(cursor=cursor))
        rows = page["rows"]
        while cursor is None and (following := next_cursor(page)) is not None:
            page = self.call("eval diff query", "POST", "/query/evals/diff", {**body, "cursor": following})
            rows += page["rows"]
        return {**page, "rows": rows}

    # -- control --------------------------------------------------------------------------------------------------

    def list_dials(self, run_id: str) -> list[Json]:
        """The dials that a run offers: ``name``, ``kind``, ``value``, ``min``, ``max``, ``choices`` and more."""
        return list(self.call("dial list", "GET", route("runs", run_id, "dials"))["dials"])

    def turn_dial(
        self,
        run_id: str,
        name: str,
        value: Any = None,
        *,
        reason: str | None = None,
        deadline_ms: int | None = None,
        dry_run: bool = False,
    ) -> Json:
        """Send a command to a running run; :meth:`get_command` says what became of it.

        Args:
            value: what to set the dial to; an action takes none.
            reason: for those who read the charts later.
            deadline_ms: milliseconds from now after which it is not applied any more; ten minutes if left out.
            dry_run: only check whether the dial would take it.
        """
        body = {"name": name, "value": value, "dryRun": dry_run} | given(reason=reason, deadlineMs=deadline_ms)
        return self.call("command", "POST", route("runs", run_id, "commands"), body)

    def get_command(self, run_id: str, command_id: str) -> Json:
        """A command with its ``status``: pending, delivered, applied, rejected, failed, expired or superseded."""
        return self.call("command status", "GET", route("runs", run_id, "commands", command_id))

    def list_commands(self, run_id: str, *, limit: int = 100, max_pages: int = 1) -> list[Json]:
        """Who turned what, newest first."""
        return self.pages("command list", route("runs", run_id, "commands"), "commands", limit, max_pages)

    def switch_control(self, project_id: str, enabled: bool) -> Json:
        """Let the dials of a project's runs be turned, or not."""
        return self.call("control switch", "PUT", route("projects", project_id, "control"), {"enabled": enabled})

    # -- sweeps ---------------------------------------------------------------------------------------------------

    def put_sweep(
        self,
        workspace_slug: str,
        project_slug: str,
        sweep_id: str,
        config: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
    ) -> Json:
        """Make a sweep, or say more of one that is there; ``config`` is as ``wandb.sweep`` takes it."""
        path = route("workspaces", workspace_slug, "projects", project_slug, "sweeps", sweep_id)
        return self.call("sweep", "PUT", path, given(config=dict(config or {}), name=name))

    def list_sweeps(
        self, workspace_slug: str, project_slug: str, *, limit: int = 100, max_pages: int = 10
    ) -> list[Json]:
        """The sweeps of a project, newest first, each with ``config`` and ``state``."""
        path = route("workspaces", workspace_slug, "projects", project_slug, "sweeps")
        return self.pages("sweep list", path, "sweeps", limit, max_pages)

    def get_sweep(self, workspace_slug: str, project_slug: str, sweep_id: str) -> Json:
        """One sweep."""
        path = route("workspaces", workspace_slug, "projects", project_slug, "sweeps", sweep_id)
        return self.call("sweep", "GET", path)

    def turn_sweep(
        self,
        workspace_slug: str,
        project_slug: str,
        sweep_id: str,
        state: Literal["running", "paused", "stopped"],
    ) -> Json:
        """Pause a sweep, resume or stop it; its agents obey before their next trial."""
        path = route("workspaces", workspace_slug, "projects", project_slug, "sweeps", sweep_id, "state")
        return self.call("sweep", "POST", path, {"state": state})

    def ask_sweep(self, workspace_slug: str, project_slug: str, sweep_id: str, *, finished: bool = False) -> Json:
        """What an agent asks before each trial: the sweep, whose ``state`` says whether there shall be another.

        Args:
            finished: there is nothing left to try.
        """
        path = route("workspaces", workspace_slug, "projects", project_slug, "sweeps", sweep_id, "ask")
        return self.call("sweep", "POST", path, {"finished": finished})
