"""``rundial evals``: comparing eval runs."""

from __future__ import annotations

from typing import Annotated

import typer

from rundial.cli.context import Project, Workspace, command, connect, group, target
from rundial.cli.output import answer, say, table
from rundial.errors import RundialError

app = group("Evaluations.")


@command(app, "diff")
def diff(
    baseline: Annotated[str, typer.Argument(metavar="BASELINE", help="Id of the eval run to compare with.")],
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="Id of the eval run that is judged.")],
    workspace: Workspace = None,
    project: Project = None,
    scorer: Annotated[str | None, typer.Option(help="Only what this scorer said.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows to ask for at a time; all are compared.")] = 1000,
    fail_on_regression: Annotated[
        bool, typer.Option("--fail-on-regression", help="Exit with 1 when anything regressed.")
    ] = False,
) -> None:
    """Compare two eval runs example by example."""
    with connect() as client:
        chosen = target(workspace, project)
        client.resolve_project_id(*chosen)  # the next question would make it
        place = client.resolve_run_target(*chosen)
        result = client.query_eval_diff(place["projectId"], baseline, candidate, limit=limit, scorer=scorer)
    regressions = sum(row["regressed"] is True for row in result["rows"])
    document = {
        "workspace": place["workspaceSlug"],
        "project": place["projectSlug"],
        "projectId": place["projectId"],
        "baselineEvalRunId": baseline,
        "candidateEvalRunId": candidate,
        "regressions": regressions,
        "result": result,
    }

    def show() -> None:
        rows = [
            (
                it["exampleId"],
                it["scorer"],
                it.get("baselineScore"),
                it.get("candidateScore"),
                it["delta"],
                it.get("status"),
            )
            for it in result["rows"]
            if it.get("status") != "same"
        ]
        table(("example", "scorer", "baseline", "candidate", "delta", "status"), rows, "Nothing changed.")
        say(f"{len(result['rows']):,} results compared, {regressions:,} regressed.")

    answer(document, show)
    if fail_on_regression and regressions:
        raise RundialError(f"{regressions:,} of {len(result['rows']):,} results regressed.")
