"""Dials: what a script offers, and what becomes of the commands that arrive."""

import gc
import itertools
import json
import math
import os
import socket
import subprocess
import sys
import time
import weakref

import pytest

import rundial as rd
from rundial.control import dials
from rundial.control.begun import FOLDER, Begun
from rundial.control.command_line import main as queue_main
from rundial.control.command_queue import enqueue, objects
from rundial.control.training import Training
from rundial.errors import ConfigError
from rundial.events import Ack, Dial, Marker
from rundial.testing import capture_run

numbers = itertools.count()


def command(name, value=None, *, left=60_000, place=None, identity=None, before=()):
    """A command as the server sends it."""
    place = next(numbers) if place is None else place
    return {
        "commandId": identity or f"cmd_{place}",
        "place": place,
        "name": name,
        "value": value,
        "author": "ada",
        "reason": "to see",
        "leftMs": left,
        "deliveredTo": list(before),
    }


def arrive(run, *commands):
    run._board.arrive(commands)


def told(server, kind):
    return [event for event in server.events if isinstance(event, kind)]


class Optimizer:
    def __init__(self):
        self.lr = 0.1

    def set_lr(self, value):
        self.lr = value


@pytest.fixture
def job():
    """A run with one dial of each kind of binding, its optimizer and the server that hears of it."""
    optimizer = Optimizer()
    with capture_run() as (run, server):
        run.dial("lr", lambda: optimizer.lr, optimizer.set_lr, min=1e-6, max=1.0, unit="1/step")
        yield run, server, optimizer


def test_a_command_is_applied_at_the_next_poll(job):
    """It is acknowledged with the value before and after, and marked on the charts with who asked."""
    run, server, optimizer = job
    run.log({"loss": 1.0}, step=7)
    arrive(run, command("lr", 0.01))
    assert optimizer.lr == 0.1

    (ack,) = run.poll()

    assert optimizer.lr == 0.01
    assert (ack.name, ack.status, ack.former, ack.value, ack.author) == ("lr", "applied", 0.1, 0.01, "ada")
    run.finish(5)
    assert told(server, Ack) == [ack]
    (marker,) = [marker for marker in told(server, Marker) if marker.kind == "control"]
    assert (marker.name, marker.step) == ("lr", 8)
    attrs = {"from": 0.1, "to": 0.01, "by": "ada", "reason": "to see", "command": ack.command_id}
    assert marker.attrs == attrs
    assert [dial.value for dial in told(server, Dial)] == [0.1, 0.01]


def test_a_poll_with_nothing_to_do_answers_an_empty_list(job):
    """With dials, without dials, and on a run that logs nothing."""
    run, _, _ = job
    assert run.poll() == []
    with capture_run() as (plain, _):
        assert plain.poll() == []
    silent = rd.init(mode="disabled")
    dial = silent.dial("lr", value=0.5)
    assert (silent.poll(), dial.value) == ([], 0.5)
    silent.finish()


@pytest.mark.parametrize(
    "value, why",
    [
        (2, "more than 1"),
        (0, "less than"),
        ("0.1", "no number"),
        (True, "no number"),
        (None, "no number"),
        ([0.1], "no number"),
        ({"a": 1}, "no number"),
        (math.nan, "finite"),
        (10**400, "finite"),
        ("x" * 100_000, "no number"),
    ],
)
def test_bounds_hold_in_the_job_itself(job, value, why):
    """Whatever a server lets through."""
    run, server, optimizer = job
    arrive(run, command("lr", value))
    (ack,) = run.poll()
    assert (ack.status, optimizer.lr) == ("rejected", 0.1)
    assert why in ack.error
    run.finish(5)
    assert [one.status for one in told(server, Ack)] == ["rejected"]


def test_what_arrives_is_no_command_at_all(job):
    """One warning, and the next is not lost."""
    run, _, optimizer = job
    rubbish = [{}, {"commandId": 1}, command("lr", 0.5) | {"place": "x"}, command("lr", 0.5) | {"leftMs": None}]
    with pytest.warns(RuntimeWarning, match="cannot be understood"):
        arrive(run, *rubbish, command("lr", 0.25))
    assert [ack.status for ack in run.poll()] == ["applied"]
    assert optimizer.lr == 0.25


def test_a_command_comes_once(job):
    """However often it is sent, before and after the poll."""
    run, _, _ = job
    one = command("lr", 0.5)
    arrive(run, one, one)
    arrive(run, one)
    assert len(run.poll()) == 1
    arrive(run, one)
    assert run.poll() == []


def test_the_newest_of_a_dial_is_applied(job):
    """Older ones are superseded, also when they arrive later; one that is rejected supersedes nothing."""
    run, _, optimizer = job
    late = command("lr", 0.9)
    arrive(run, command("lr", 0.3), command("lr", 0.4), command("lr", 99))
    assert [(ack.status, ack.value) for ack in run.poll()] == [("rejected", 99), ("superseded", 0.3), ("applied", 0.4)]
    arrive(run, late)
    assert [ack.status for ack in run.poll()] == ["superseded"]
    assert optimizer.lr == 0.4


def test_an_expired_command_is_not_applied(job):
    """Its deadline counts at the poll, by this machine's own clock."""
    run, _, optimizer = job
    arrive(run, command("lr", 0.5, left=-1))
    (ack,) = run.poll()
    assert (ack.status, optimizer.lr) == ("expired", 0.1)


def test_an_unknown_dial_is_rejected_with_the_names_there_are(job):
    """So that whoever misspelt it knows."""
    run, _, _ = job
    arrive(run, command("lrr", 0.5))
    (ack,) = run.poll()
    assert ack.status == "rejected"
    assert "there are: lr" in ack.error


def test_what_set_raises_is_in_the_acknowledgement(job):
    """And the loop goes on."""
    run, _, _ = job

    def fail(value):
        raise RuntimeError("the wheel is stuck")

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    def fail_silently(value):
        raise Mute

    run.dial("wheel", set=fail, value=1.0)
    run.dial("mute", set=fail_silently, value=1.0)
    arrive(run, command("wheel", 2.0), command("mute", 2.0))
    acks = run.poll()
    assert [(ack.status, ack.error) for ack in acks] == [("failed", "the wheel is stuck"), ("failed", "Mute")]


def test_a_validator_has_the_last_word(job):
    """It may mend a value or refuse it, in its own words."""
    run, _, _ = job

    def even(value):
        if value < 0:
            raise ValueError("must not be negative")
        return value - value % 2

    dial = run.dial("batch", value=32, validate=even)
    arrive(run, command("batch", 33.0))
    assert [ack.value for ack in run.poll()] == [32]
    arrive(run, command("batch", -1))
    assert [(ack.status, ack.error) for ack in run.poll()] == [("rejected", "must not be negative")]
    assert dial.value == 32


def test_kinds_follow_from_what_is_given():
    """From the value, the choices, the bounds, or the lack of all."""
    with capture_run() as (run, server):
        run.dial("a", value=0.5)
        run.dial("b", value=3)
        run.dial("c", value=True)
        run.dial("d", value="adam", choices=["adam", "sgd"])
        run.dial("e", value="text")
        run.dial("f", set=print, max=1)
        run.dial("save", set=lambda: None)
        run.dial("g", value=1, kind="float")
        run.finish(5)
    kinds = [dial.kind for dial in told(server, Dial)]
    assert kinds == ["float", "int", "bool", "choice", "text", "float", "action", "float"]


@pytest.mark.parametrize(
    "arguments, word",
    [
        ({"name": ""}, "name"),
        ({"name": 3}, "name"),
        ({}, "needs get="),
        ({"set": 3}, "set must be a function"),
        ({"value": 1, "kind": "slider"}, "kind must be"),
        ({"value": 1, "min": 3, "max": 2}, "more than max"),
        ({"value": 1, "min": "low"}, "must be a number"),
        ({"value": 1, "step": 0}, "step"),
        ({"value": True, "max": 3}, "has no min"),
        ({"kind": "choice"}, "choices"),
        ({"choices": []}, "choices"),
        ({"kind": "text", "choices": ["a"]}, "has no choices"),
    ],
)
def test_a_mistake_in_the_call_says_what_to_do(arguments, word):
    """As in init."""
    with capture_run() as (run, _), pytest.raises(ConfigError, match=word):
        run.dial(**({"name": "x"} | arguments))


def test_actions_and_contexts():
    """An action takes no value; a function that needs one argument more gets the context first; none supersedes."""
    got = []
    with capture_run() as (run, _):
        run.dial("save", set=lambda: got.append("save"))
        run.dial("stop", set=lambda ctx: got.append(("stop", ctx)))
        run.dial("lr", set=lambda ctx, value: got.append((ctx, value)), kind="float")
        run.dial("quiet", set=lambda value, level=1: got.append((value, level)), value=False)
        arrive(run, command("save"), command("save"), command("stop"), command("lr", 1), command("quiet", True))
        acks = run.poll("context")
    assert [ack.status for ack in acks] == ["applied"] * 5
    assert got == ["save", "save", ("stop", "context"), ("context", 1.0), (True, 1)]


def test_values_that_training_changes_are_told_again(job):
    """When the listener asks for it, on the training thread."""
    run, server, optimizer = job
    optimizer.lr = 0.05
    run._board._ask_for_news()
    assert run.poll() == []
    run._board._ask_for_news()
    assert run.poll() == []
    run.finish(5)
    assert [dial.value for dial in told(server, Dial)] == [0.1, 0.05]


def test_a_dial_that_cannot_be_read_is_no_exception():
    """Neither when it is offered nor later."""
    with pytest.warns(RuntimeWarning, match="cannot be read"), capture_run() as (run, _):
        run.dial("x", get=lambda: 1 / 0, set=lambda value: None, kind="float")
        arrive(run, command("x", 1.0))
        (ack,) = run.poll()
    assert (ack.status, ack.value, ack.former) == ("applied", None, None)


def test_what_was_begun_is_on_disk_before_it_is_applied(job, tmp_path):
    """So that a process that dies in the middle leaves word."""
    run, _, _ = job
    begun = Begun(run._pipeline.spool.folder.parent, run._pipeline.stream)
    seen = []
    run.dial("look", set=lambda: seen.append(begun.of(run._pipeline.stream)))
    arrive(run, command("look", identity="cmd_x"))
    run.poll()
    assert seen == [frozenset({"cmd_x"})]


def test_a_command_of_a_process_that_died(job):
    """Begun there: not again. Not begun: now. Of a process elsewhere nobody knows: not again, and said."""
    run, server, optimizer = job
    here, elsewhere = "ab" * 16, "cd" * 16
    notes = Begun(run._pipeline.spool.folder.parent, here)
    notes.open()
    notes.note("cmd_begun", "lr")

    arrive(run, command("lr", 0.2, identity="cmd_begun", before=[here]))
    arrive(run, command("lr", 0.3, identity="cmd_far", before=[here, elsewhere]))
    assert run.poll() == []
    arrive(run, command("lr", 0.4, identity="cmd_waited", before=[here]))
    assert [ack.command_id for ack in run.poll()] == ["cmd_waited"]

    run.finish(5)
    assert optimizer.lr == 0.4
    answers = {ack.command_id: (ack.status, ack.error) for ack in told(server, Ack)}
    assert answers["cmd_begun"] == ("failed", dials.INTERRUPTED)
    assert answers["cmd_far"] == ("failed", dials.UNKNOWN)


def test_a_disk_that_refuses_is_no_exception(job):
    """What cannot be noted is not applied, and is said."""
    run, _, optimizer = job
    path = run._pipeline.spool.folder.parent / FOLDER / f"{run._pipeline.stream}.jsonl"
    path.unlink()
    path.mkdir()
    arrive(run, command("lr", 0.5))
    (ack,) = run.poll()
    path.rmdir()
    assert (ack.status, optimizer.lr) == ("failed", 0.1)
    assert "not applied" in ack.error


def test_a_run_without_commands_leaves_no_notes(job):
    """As it leaves no spool."""
    run, _, _ = job
    folder = run._pipeline.spool.folder.parent
    assert (folder / FOLDER).is_dir()
    run.finish(5)
    assert not (folder / FOLDER).exists()


def test_old_notes_are_cleared_away(tmp_path):
    """After a month no command can ask for them."""
    old = Begun(tmp_path, "ab" * 16)
    old.open()
    old.note("cmd", "lr")
    path = tmp_path / FOLDER / f"{'ab' * 16}.jsonl"
    os.utime(path, (0, time.time() - 40 * 24 * 3600))
    Begun(tmp_path, "cd" * 16).open()
    assert old.of("ab" * 16) is None
    assert Begun(tmp_path, "ef" * 16).of("../x") is None


def test_what_waits_at_the_end_is_never_applied(job):
    """And whoever sent it is told."""
    run, server, optimizer = job
    arrive(run, command("lr", 0.5))
    run.finish(5)
    assert run.poll() == []
    assert [(ack.status, ack.error) for ack in told(server, Ack)] == [("expired", dials.ENDED)]
    assert optimizer.lr == 0.1


def test_a_poll_inside_a_poll_does_nothing(job):
    """A callback that polls by itself meets no deadlock."""
    run, _, _ = job
    inner = []
    run.dial("again", set=lambda: inner.append(run.poll()))
    arrive(run, command("again"))
    assert [ack.status for ack in run.poll()] == ["applied"]
    assert inner == [[]]


def test_a_forked_child_leaves_commands_to_its_parent(job):
    """They are addressed to the process that offered the dial."""
    run, _, optimizer = job
    arrive(run, command("lr", 0.5))
    pid = os.fork()
    if pid == 0:
        os._exit(0 if run.poll() == [] and optimizer.lr == 0.1 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert [ack.status for ack in run.poll()] == ["applied"]


def test_only_an_owner_turns_what_is_an_owners(job):
    """The job looks for itself, whatever a server lets through; a server that says nothing of roles says no."""
    run, server, _ = job
    run.dial("budget", value=1, role="owner")
    arrive(
        run, command("budget", 2), command("budget", 3) | {"role": "member"}, command("budget", 4) | {"role": "boss"}
    )
    assert {(ack.status, ack.error) for ack in run.poll()} == {("rejected", "only an owner may turn 'budget'")}
    arrive(run, command("budget", 5) | {"role": "owner"})
    assert [ack.status for ack in run.poll()] == ["applied"]
    with pytest.raises(ConfigError, match="role must be one of owner, member"):
        run.dial("x", value=1, role="king")
    run.finish(5)
    assert {dial.name: dial.role for dial in told(server, Dial)} == {"lr": None, "budget": "owner"}


def test_a_stop_is_why_the_run_ended(job):
    """Unless its end has another reason, or is no good one."""
    run, server, _ = job
    run.dial("stop", set=lambda: None)
    arrive(run, command("stop"))
    run.poll(step=3)
    run.finish(5)
    assert server.events[-1].reason == "stopped by ada: to see"
    assert [marker.step for marker in told(server, Marker) if marker.name == "stop"] == [3]


@pytest.fixture
def directed(tmp_path):
    """A run that obeys a queue directory, with one dial, and the directory."""
    folder, state = tmp_path / "queue", {"lr": 0.1}
    folder.mkdir()
    with capture_run(control_dir=str(folder)) as (run, server):
        run.dial("lr", lambda: state["lr"], lambda value: state.update(lr=value), min=1e-6, max=1.0)
        run.dial("save", set=lambda: state.update(saved=True), role="owner")
        yield run, server, state, folder


def polled(run, count, seconds=10):
    """What became of so many commands."""
    acks, until = [], time.monotonic() + seconds
    while len(acks) < count:
        assert time.monotonic() < until, acks
        acks += run.poll()
        time.sleep(0.005)
    return acks


def acknowledged(folder, count, seconds=10):
    """The lines of ``acks.jsonl``, once there are so many."""
    until = time.monotonic() + seconds
    (folder / "acks.jsonl").touch()
    while len(found := [json.loads(line) for line in (folder / "acks.jsonl").read_text().splitlines()]) < count:
        assert time.monotonic() < until, found
        time.sleep(0.01)
    return found


def test_a_queue_directory_turns_dials(directed, capsys):
    """With the same commands as a controller's; both the directory and the server hear of it."""
    run, server, state, folder = directed
    assert queue_main(["-q", str(folder), "lr", "0.5"]) == 0
    assert queue_main(["-q", str(folder), "lr", "0.25"]) == 0
    assert queue_main(["-q", str(folder), "save"]) == 0
    assert [ack.status for ack in polled(run, 3)] == ["applied"] * 3
    assert state == {"lr": 0.25, "saved": True}
    found = acknowledged(folder, 3)
    assert [(ack["path"], ack["status"], ack["args"]) for ack in found] == [
        ("lr", "applied", [0.5]),
        ("lr", "applied", [0.25]),
        ("save", "applied", []),
    ]
    assert [line["id"] for line in objects(folder / "begun.jsonl")] == [ack["id"] for ack in found]
    run.finish(5)
    assert [ack.value for ack in told(server, Ack)] == [0.5, 0.25, None]


def test_hostile_lines_in_a_queue_directory(directed):
    """Each is answered with its reason, in the directory and to the server; the loop is untouched."""
    run, server, state, folder = directed
    hostile = [
        b"garbage",
        b"[1]",
        b'{"id": "a", "path": "lr", "args": [2]}',
        b'{"id": "b", "path": "lr", "args": ["0.1"]}',
        b'{"id": "c", "path": "lr", "args": [NaN]}',
        b'{"id": "d", "path": "lr", "args": [0.1, 0.2]}',
        b'{"id": "e", "path": "lr", "args": [0.1], "kwargs": {"x": 1}}',
        b'{"id": "f", "path": "lr", "args": {}}',
        b'{"id": "g", "path": "nothing", "args": [1]}',
        b'{"id": "h", "path": "lr", "op": "delete"}',
        b'{"id": "i", "path": "save", "args": [1]}',
        b'{"id": "j", "path": "lr", "args": [' + b"9" * 5000 + b"]}",
        b'{"id": "k", "path": "lr", "args": [[[1]]]}',
        b'{"id": "' + b"l" * 5000 + b'", "path": "lr", "args": [true]}',
        b'{"id": "a", "path": "lr", "args": [0.5]}',
        b"x" * (2 * 1024 * 1024),
    ]
    with (folder / "commands.jsonl").open("ab") as file:
        file.write(b"\n".join(hostile) + b"\n")
    enqueue(folder, "lr", [0.75])
    until = time.monotonic() + 10
    while state["lr"] != 0.75:
        assert time.monotonic() < until
        run.poll()
        time.sleep(0.005)
    found = acknowledged(folder, len(hostile))
    assert [ack["status"] for ack in found].count("applied") == 1
    assert len(found) == len(hostile)  # the second "a" is no new command
    assert all(ack["error"] for ack in found if ack["status"] != "applied")
    run.finish(5)
    assert len(told(server, Ack)) == len(hostile)


def test_a_flood_does_not_stop_the_training(directed):
    """A poll obeys a hundred commands; the rest waits for the next ones."""
    run, _, _, folder = directed
    (folder / "commands.jsonl").write_bytes(
        b"".join(b'{"id": "%d", "path": "save"}\n' % number for number in range(250))
    )
    until = time.monotonic() + 10
    while len(run._commands) < 250:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert [len(run.poll()) for _ in range(4)] == [100, 100, 50, 0]


def test_a_later_process_replays_nothing_of_the_directory(tmp_path):
    """What was applied stays applied, what came in between is applied."""
    folder = tmp_path / "queue"
    enqueue(folder, "count", [1])
    seen = []
    for expected in ([1], [1, 2]):
        with capture_run(control_dir=str(folder), mode="offline") as (run, _):
            run.dial("count", set=seen.append, kind="int")
            polled(run, 1)
            assert seen == expected
        enqueue(folder, "count", [2])


def test_a_directory_that_cannot_be_is_no_exception(tmp_path, capsys):
    """It is said once, and training goes on."""
    (tmp_path / "file").write_text("")
    with capture_run(control_dir=str(tmp_path / "file" / "queue")) as (run, _):
        dial = run.dial("lr", value=0.5)
        until = time.monotonic() + 5
        while "cannot use the queue directory" not in capsys.readouterr().err:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert run.poll() == [] and dial.value == 0.5


def test_a_training_that_has_ended_lets_go_of_its_model(job):
    """Its dials keep their values; what comes late is rejected."""
    run, _, _ = job
    model = Optimizer()
    gone = weakref.ref(model)
    training = Training(run, together=False)
    training.offer("rate", lambda model=model: model.lr, model.set_lr, min=0.0)
    arrive(run, command("rate", 0.5))
    training.poll(7)
    training.end()
    del model
    gc.collect()
    assert gone() is None
    arrive(run, command("rate", 0.25))
    assert [(ack.status, ack.error) for ack in run.poll()] == [
        ("rejected", "the training that it belonged to has ended")
    ]
    assert run._board._dials["rate"].value == 0.5


def test_an_offer_of_the_same_name_gives_way(job):
    """A second fit offers its own optimizer."""
    run, _, first = job
    second = Optimizer()
    run.dial("lr", lambda: second.lr, second.set_lr, max=10.0)
    arrive(run, command("lr", 5))
    assert [ack.status for ack in run.poll()] == ["applied"]
    assert (first.lr, second.lr) == (0.1, 5.0)


RANK = """
import json, sys, time, warnings
import torch.distributed as dist
import rundial as rd
from rundial.control import ranks
dist.init_process_group("gloo")
rank = dist.get_rank()
warnings.simplefilter("ignore")
assert ranks.agree(rank == 0) is True
assert ranks.agree(rank == 1) is False
if rank == 0:
    assert ranks.agree(True, 0.5) is False
dist.barrier()
run = rd.init(project="dials", mode="offline", quiet=True, spool_directory=sys.argv[1])
state = {"lr": 0.1}
def set_lr(value):
    if value == 0.9 and rank == 1:
        raise RuntimeError("rank 1 cannot")
    state["lr"] = value
run.dial("lr", lambda: state["lr"], set_lr, max=1.0)
acks = []
for step in range(300):
    time.sleep(0.001 * (1 + rank))
    if rank == 0 and step in (20, 100, 180):
        value = {20: 0.5, 100: 0.9, 180: 7.0}[step]
        command = {"commandId": f"cmd_{step}", "place": step, "name": "lr", "value": value, "leftMs": 60000}
        run._board.arrive([command])
    acks += [[ack.status, ack.error, ack.ranks] for ack in run.poll(ddp=True, every_s=0.05 if rank == 0 else 9.0)]
dist.barrier()
with open(f"{sys.argv[1]}.{rank}", "w") as file:
    json.dump([state["lr"], acks], file)
run.finish()
dist.destroy_process_group()
"""


@pytest.mark.frameworks
def test_ranks_turn_together(tmp_path):
    """What rank 0 hears, all ranks apply, though only rank 0 logs; one answer says how it went on each.

    Where a rank does not ask whether there are dials, none waits for it, and there are none.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        unused_port = probe.getsockname()[1]
    variables = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(unused_port), "WORLD_SIZE": "2"}
    command = [sys.executable, "-c", RANK, str(tmp_path / "spool")]
    ranks = [subprocess.Popen(command, env=variables | {"RANK": str(number)}) for number in range(2)]
    assert [process.wait(60) for process in ranks] == [0, 0]
    found = [json.loads((tmp_path / f"spool.{number}").read_text()) for number in range(2)]
    assert [lr for lr, _ in found] == [0.9, 0.5]
    assert found[0][1] == found[1][1]
    (applied, failed, rejected) = found[0][1]
    assert applied == ["applied", None, {"0": "applied", "1": "applied"}]
    assert failed == ["failed", "rank 1: rank 1 cannot", {"0": "applied", "1": "failed"}]
    assert rejected[0] == "rejected"
    assert "more than 1" in rejected[1]
