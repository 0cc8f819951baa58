"""``rundial init``: from nothing to a first run."""

from __future__ import annotations

from typing import Annotated

import typer

from rundial.cli.auth import ApiKey, Credentials, DefaultProject, DefaultWorkspace, Email, PlainStore, signed_in
from rundial.cli.configuration import edited, profile_name, profile_of
from rundial.cli.context import target
from rundial.cli.output import answer
from rundial.config import DEFAULT_WORKSPACE


def init(
    api_key: ApiKey = None,
    credentials: Credentials = False,
    email: Email = None,
    workspace: DefaultWorkspace = None,
    project: DefaultProject = None,
    name: Annotated[str, typer.Option(help="Name of the first run.")] = "first-run",
    skip_run_start: Annotated[bool, typer.Option("--skip-run-start", help="Make no first run.")] = False,
    allow_plaintext_store: PlainStore = False,
) -> None:
    """Sign in, choose workspace and project, and make a first run, which is over at once."""
    with signed_in(api_key, credentials, email, allow_plaintext_store, {}) as (client, document):
        chosen = target(workspace, project)
        if workspace is None and chosen.workspace == DEFAULT_WORKSPACE:  # nobody chose one: the key's own
            chosen = chosen._replace(workspace=document["whoami"].get("workspaceSlug") or DEFAULT_WORKSPACE)
        place = client.resolve_run_target(chosen.workspace, chosen.project)
        with edited() as config:
            profile = profile_of(config, profile_name())
            profile["workspace"], profile["project"] = place["workspaceSlug"], place["projectSlug"]
        if not skip_run_start:
            made = client.create_run(place["projectId"], run_name=name)
            client.update_run_status(made["runId"], "completed")
            document["run"] = {
                "runId": made["runId"],
                "workspace": place["workspaceSlug"],
                "project": place["projectSlug"],
            }

        def show() -> None:
            print(f"Rundial is set up: {client.endpoint}, {place['workspaceSlug']}/{place['projectSlug']}.")
            if "run" in document:
                print(f"The first run, {name}, is {document['run']['runId']}; `rundial run list` shows it.")
            print("In a script: `import rundial as rd; run = rd.init()`.")

        answer({**document, "target": place}, show)
