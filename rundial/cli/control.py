"""``rundial control``: see the dials of a run and turn them while it runs; without a server by a queue directory."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from rundial.cli.context import connect
from rundial.cli.output import answer, moment, say, table
from rundial.client import HttpClient
from rundial.control.command_line import main as queue_main
from rundial.control.command_line import value_of
from rundial.errors import RundialError

OPEN = ("pending", "delivered")
LOOK_SECONDS = 0.2
WAIT_SECONDS = 30.0

Words = Annotated[
    list[str] | None, typer.Argument(metavar="RUN [NAME [VALUE]]", help="Id of the run, a dial, and what to set it to.")
]
Reason = Annotated[str | None, typer.Option(help="Why, for those who read the charts later.")]
Deadline = Annotated[float, typer.Option(min=0.001, max=86_400, help="Seconds after which it is not applied any more.")]
Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait for what becomes of it; 0 does not wait.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check whether the dial would take the value.")]
Undo = Annotated[bool, typer.Option("--undo", help="Set the dial to what it was before its last command.")]
History = Annotated[bool, typer.Option("--history", help="Show who turned what.")]
QueueDir = Annotated[
    str | None, typer.Option("--queue-dir", "-q", help="A queue directory instead of a server; RUN is left out then.")
]
Kwargs = Annotated[str | None, typer.Option(help="With -q: named arguments, as a JSON object.")]
Last = Annotated[int, typer.Option(min=0, help="With -q and `status`: how many acknowledgements to show.")]


def control(
    words: Words = None,
    reason: Reason = None,
    deadline: Deadline = 600.0,
    wait: Wait = WAIT_SECONDS,
    dry_run: DryRun = False,
    undo: Undo = False,
    history: History = False,
    queue_dir: QueueDir = None,
    kwargs: Kwargs = None,
    last: Last = 10,
) -> None:
    """See the dials of a run, or turn one: `rundial control RUN lr 0.001`. An action takes no value.

    A value is read as JSON where it is JSON. Exit code 1 when the command was not applied.
    """
    given = words or []
    if queue_dir is not None:
        _by_queue(queue_dir, given, kwargs, last)
        return
    if not 1 <= len(given) <= 3:
        raise RundialError("give RUN, RUN NAME or RUN NAME VALUE; quote a value of several words.")
    run_id, name = given[0], given[1] if len(given) > 1 else None
    with connect() as client:
        if history:
            _show_history(client, run_id, name)
            return
        dials = client.list_dials(run_id)
        if name is None:
            answer({"runId": run_id, "dials": dials}, lambda: _show(dials))
            return
        dial = _find(dials, name)
        if undo:
            value = _former(client, run_id, name)
        elif len(given) < 3 and dial["kind"] != "action":
            answer({"runId": run_id, "dial": dial}, lambda: say(str(dial["value"])))
            return
        else:
            value = _value(dial, given[2]) if len(given) == 3 else None
        sent = client.turn_dial(
            run_id, name, value, reason=reason, deadline_ms=max(1, int(deadline * 1000)), dry_run=dry_run
        )
        if dry_run:
            answer({"command": sent}, lambda: say(f"{name} would go from {sent['former']} to {sent['value']}."))
            return
        _report(_settled(client, run_id, sent, wait))


def _by_queue(directory: str, words: list[str], kwargs: str | None, last: int) -> None:
    arguments = ["-q", directory, "--last", str(last), *(["--kwargs", kwargs] if kwargs is not None else [])]
    code = queue_main([*arguments, "--", *words])
    if code:
        raise typer.Exit(code)


def _find(dials: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for dial in dials:
        if dial["name"] == name:
            return dial
    known = ", ".join(dial["name"] for dial in dials) or "none"
    raise RundialError(f"the run has no dial {name!r}. There are: {known}.")


def _value(dial: dict[str, Any], word: str) -> Any:
    """A word as the dial wants it: a text stays what was typed."""
    if dial["kind"] == "text" or (dial["kind"] == "choice" and word in dial["choices"]):
        return word
    return value_of(word)


def _former(client: HttpClient, run_id: str, name: str) -> Any:
    for command in client.list_commands(run_id, limit=1000):
        if command["name"] == name and command["status"] == "applied":
            if command["former"] is None:
                break
            return command["former"]
    raise RundialError(f"there is nothing to undo: no command has changed {name!r}.")


def _settled(client: HttpClient, run_id: str, command: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The command once something has become of it, or as it is when the time is up."""
    until = time.monotonic() + seconds
    while command["status"] in OPEN and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        command = client.get_command(run_id, command["commandId"])
    return command


def _report(command: dict[str, Any]) -> None:
    name, status = command["name"], command["status"]
    if status in OPEN:
        text = (
            f"{name}: {status}; the run has not answered yet. `rundial control RUN --history` shows what became of it."
        )
    elif status == "applied":
        text = f"{name}: applied" + ("" if command["value"] is None else f", {command['former']} -> {command['value']}")
    else:
        text = f"{name}: {status}: {command['error']}"
    answer({"command": command}, lambda: say(text))
    if status not in (*OPEN, "applied"):
        raise typer.Exit(1)


def _show(dials: list[dict[str, Any]]) -> None:
    rows = [
        [dial["name"], dial["kind"], _shown(dial["value"]), _range(dial), dial["description"] or ""] for dial in dials
    ]
    headings = ["DIAL", "KIND", "VALUE", "RANGE", "DESCRIPTION"]
    table(headings, rows, "The run offers no dials; run.dial(...) in its script does.")


def _range(dial: dict[str, Any]) -> str:
    if dial["choices"]:
        return " | ".join(map(str, dial["choices"]))
    if dial["min"] is None and dial["max"] is None:
        return ""
    low, high = ("" if dial[end] is None else f"{dial[end]:g}" for end in ("min", "max"))
    return f"{low}..{high} {dial['unit'] or ''}".strip()


def _show_history(client: HttpClient, run_id: str, name: str | None) -> None:
    commands = [one for one in client.list_commands(run_id, limit=1000) if name in (None, one["name"])]
    rows = [
        [
            moment(one["createdAtMs"]),
            one["name"],
            _shown(one["former"]),
            _shown(one["value"]),
            one["status"],
            one["author"],
            one["error"] or one["reason"] or "",
        ]
        for one in commands
    ]
    titles = ["TIME", "DIAL", "FROM", "TO", "STATUS", "BY", "WHY"]
    answer({"runId": run_id, "commands": commands}, lambda: table(titles, rows, "No commands yet."))


def _shown(value: Any) -> str:
    return "" if value is None else str(value)
