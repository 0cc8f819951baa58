"""`rundial run` and `project`: changing what is there."""

from __future__ import annotations

from collections.abc import Callable

from tests.cli.conftest import rundial
from tests.flows.conftest import ServerProcess


def test_rename_and_tag(configured: ServerProcess, train: Callable[..., str]) -> None:
    """A run gets another name, and tags come and go."""
    run_id = train("cli-edit", 1)

    rundial("run", "rename", run_id, "second thought")
    rundial("run", "tag", run_id, "good", "best")
    rundial("run", "tag", run_id, "--remove", "first")

    found = rundial("run", "status", run_id, "--json").json["run"]
    assert (found["runName"], sorted(found["tags"])) == ("second thought", ["best", "good"])
    assert sorted(rundial("run", "tag", run_id).out.split()) == ["best", "good"]


def test_delete_and_restore(configured: ServerProcess, train: Callable[..., str]) -> None:
    """Nothing is deleted unasked; what is deleted is gone until it is restored."""
    run_id = train("cli-delete", 1)
    assert "--yes" in rundial("run", "delete", run_id, code=1).err

    rundial("run", "delete", run_id, "--yes")
    rundial("run", "status", run_id, code=1)
    rundial("run", "restore", run_id)

    assert rundial("run", "status", run_id, "--json").json["run"]["runId"] == run_id
    rundial("run", "delete", "run_unknown", "--yes", code=1)


def test_list_pages_by_itself(configured: ServerProcess) -> None:
    """A limit above one page's is met; search and order choose."""
    for number in range(3):
        rundial("run", "start", "--project", "default-project", "--name", f"listed-{number}")

    found = rundial("run", "list", "--search", "listed", "--order", "asc", "--order-by", "runName", "--json").json

    assert [run["runName"] for run in found["result"]["runs"]] == ["listed-0", "listed-1", "listed-2"]
    assert "there is no status" in rundial("run", "list", "--status", "done", code=1).err


def test_an_empty_project_says_where_there_are_runs(configured: ServerProcess) -> None:
    """Whoever names no project is told which ones have runs; programs and searches are not."""
    rundial("project", "create", "cli-empty")
    rundial("run", "start", "--project", "cli-filled")

    empty = ("run", "list", "--project", "cli-empty")

    assert "cli-filled" in rundial(*empty).out
    assert "'cli-nowhere'" in (said := rundial("run", "list", "--project", "cli-nowhere", code=1).err)
    assert "cli-filled" in said
    assert "cli-filled" not in rundial(*empty, "--search", "x").out
    assert rundial(*empty, "--json").json["result"]["runs"] == []


def test_projects_are_made_and_used(configured: ServerProcess) -> None:
    """A new project is listed, and becomes the one in use if it is there."""
    rundial("project", "create", "cli-made", "--name", "Made here")

    rundial("target", "use", "--project", "cli-made")

    assert rundial("config", "show", "--json").json["resolved"]["project"] == "cli-made"
    assert "Made here" in rundial("project", "ls").out
    rundial("target", "use", "--project", "cli-nowhere", code=1)
    assert rundial("config", "show", "--json").json["resolved"]["project"] == "cli-made"
