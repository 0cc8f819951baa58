"""The runtime controller and its queue directory; K numbers name the checks of that interface."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rundial.control import RuntimeController
from rundial.control.command_line import main
from rundial.control.command_queue import INTERRUPTED, CommandQueue, enqueue, status


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "queue"


@pytest.fixture
def job(folder):
    """A controller with one control that keeps what it was given."""
    controller = RuntimeController(folder)
    got = []
    controller.register("lr", lambda ctx, *args, **kwargs: got.append((ctx, args, kwargs)))
    return controller, got


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_K1_controllers_are_independent(tmp_path):
    """A command reaches the controller of its directory alone."""
    got = []
    for name in ("a", "b"):
        controller = RuntimeController(tmp_path / name)
        controller.register("x", lambda ctx, v, name=name: got.append((name, v)))
        if name == "b":
            enqueue(tmp_path / "b", "x", [1])
            controller.poll_and_apply(every_s=0)
    assert got == [("b", 1)]


def test_K2_both_ways_to_make_one(folder):
    """With the directory at once, or named later; ``ddp`` is a keyword."""
    controller = RuntimeController(ddp=True)
    controller.configure(folder)
    controller.register("x", lambda ctx, value: None)
    enqueue(folder, "x", [1])
    assert [ack["status"] for ack in controller.poll_and_apply(every_s=0)] == ["applied"]
    assert RuntimeController(str(folder)).poll_and_apply() == []
    with pytest.raises(TypeError):
        RuntimeController(folder, True)


def test_K3_configure_after_register_and_before_the_first_poll(folder, tmp_path):
    """The same directory again changes nothing, another one is a mistake, none is a mistake at the first poll."""
    controller = RuntimeController(ddp=True)
    controller.register("x", lambda ctx: None)
    with pytest.raises(RuntimeError, match="configure"):
        controller.poll_and_apply()
    controller.configure(folder)
    controller.configure(str(folder))
    assert (folder / "commands.jsonl").exists() and (folder / "acks.jsonl").exists()
    with pytest.raises(ValueError, match="already configured"):
        controller.configure(tmp_path / "other")
    assert controller.poll_and_apply() == []


def test_K4_the_first_registration_stays(job, folder):
    """Unless it is overwritten; a path must be a text with something in it."""
    controller, got = job
    controller.register("lr", lambda ctx, v: got.append("second"))
    enqueue(folder, "lr", [1])
    controller.poll_and_apply(every_s=0)
    controller.register("lr", lambda ctx, v: got.append("third"), overwrite=True)
    enqueue(folder, "lr", [1])
    controller.poll_and_apply(every_s=0)
    assert got == [(None, (1,), {}), "third"]
    for path in ("", "  ", 3):
        with pytest.raises(ValueError, match="path"):
            controller.register(path, print)


def test_K5_a_control_gets_the_context_first(job, folder):
    """Then the values of the command."""
    controller, got = job
    enqueue(folder, "lr", [1, "two"], {"three": 3})
    (ack,) = controller.poll_and_apply(ctx={"model": 1}, every_s=0)
    assert got == [({"model": 1}, (1, "two"), {"three": 3})]
    assert (ack["status"], ack["args"], ack["kwargs"]) == ("applied", [1, "two"], {"three": 3})


def test_K6_both_shapes_of_validators(job, folder):
    """One value in and one out, or all arguments in and all out; what it raises is in the acknowledgement."""
    controller, got = job

    def positive(value):
        value = float(value)
        if value <= 0:
            raise ValueError("multiplier must be > 0")
        return value

    controller.register("value", lambda ctx, v: got.append(v), positive)
    controller.register("all", lambda ctx, v, k: got.append((v, k)), lambda args, kwargs: ([args[0] * 2], {"k": 1}))
    controller.register("builtin", lambda ctx, v: got.append(v), float)
    for path, args in (("value", ["0.5"]), ("value", [-1]), ("value", []), ("all", [4]), ("builtin", ["1e3"])):
        enqueue(folder, path, args)
    acks = controller.poll_and_apply(every_s=0)
    assert [ack["status"] for ack in acks] == ["applied", "failed", "failed", "applied", "applied"]
    assert acks[1]["error"] == "multiplier must be > 0"
    assert got == [0.5, (8, 1), 1000.0]


def test_K7_looks_are_spaced(job, folder):
    """Between two of them a poll answers nothing."""
    controller, _ = job
    assert controller.poll_and_apply(every_s=60) == []
    enqueue(folder, "lr", [1])
    assert controller.poll_and_apply(every_s=60) == []
    assert len(controller.poll_and_apply(every_s=0)) == 1


def test_K8_K9_the_two_files(job, folder):
    """Commands and acknowledgements are JSON lines with the fields that other tools read."""
    controller, _ = job
    enqueue(folder, "lr", [0.5])
    controller.poll_and_apply(every_s=0)
    (command,), (ack,) = lines(folder / "commands.jsonl"), lines(folder / "acks.jsonl")
    assert set(command) == {"id", "ts", "op", "path", "args", "kwargs"}
    assert (ack["id"], ack["path"], ack["op"], ack["status"]) == (command["id"], "lr", "set", "applied")


@pytest.mark.parametrize(
    "line, word",
    [
        (b'{"id": "1", "op": "set", "path": "nobody"}', "no control"),
        (b'{"id": "1", "op": "delete", "path": "lr"}', "op"),
        (b'{"id": "1", "op": "set", "path": "lr", "args": 3}', "list"),
        (b'{"id": "1", "op": "set", "path": "lr", "kwargs": [1]}', "object"),
        (b'{"id": "1", "op": "set", "path": 7}', "path"),
        (b"[1]", "object"),
        (b"not json", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'"' + b"x" * 2_000_000 + b'"', "longer"),
    ],
)
def test_K10_K11_what_is_no_command_is_rejected_and_said(job, folder, line, word):
    """Nothing is raised, and the next command is not lost."""
    controller, _ = job
    with (folder / "commands.jsonl").open("ab") as file:
        file.write(line + b"\n")
    enqueue(folder, "lr", [1])
    bad, good = controller.poll_and_apply(every_s=0)
    assert (bad["status"], good["status"]) == ("rejected", "applied")
    assert word in bad["error"]


def test_K11_a_line_without_its_end_waits_for_it(job, folder):
    """A command that is still being written is neither lost nor taken in half."""
    controller, got = job
    with (folder / "commands.jsonl").open("a") as file:
        file.write('{"id": "a", "op": "set", "path": "lr", "ar')
        file.flush()
        assert controller.poll_and_apply(every_s=0) == []
        file.write('gs": [7]}\n')
    assert len(controller.poll_and_apply(every_s=0)) == 1
    assert got[0][1] == (7,)


def test_K11_a_restart_replays_nothing(job, folder):
    """Not after the file was cut off and written again either; what came in between is applied."""
    controller, got = job
    enqueue(folder, "lr", [1])
    controller.poll_and_apply(every_s=0)
    enqueue(folder, "lr", [2])
    again = RuntimeController(folder)
    again.register("lr", lambda ctx, v: got.append(v))
    assert [ack["args"] for ack in again.poll_and_apply(every_s=0)] == [[2]]
    kept = (folder / "commands.jsonl").read_bytes()
    (folder / "commands.jsonl").write_bytes(b"")
    assert again.poll_and_apply(every_s=0) == []
    (folder / "commands.jsonl").write_bytes(kept)
    enqueue(folder, "lr", [3])
    assert [ack["args"] for ack in again.poll_and_apply(every_s=0)] == [[3]]
    assert got[1:] == [2, 3]


def test_commands_without_an_id_count_each(job, folder):
    """Two lines written by hand are two commands, and each of them once."""
    controller, _ = job
    line = '{"op": "set", "path": "lr", "args": [1]}\n'
    (folder / "commands.jsonl").write_text(line * 2)
    assert len(controller.poll_and_apply(every_s=0)) == 2
    assert RuntimeController(folder).poll_and_apply(every_s=0) == []


JOB = """
import os, sys
from pathlib import Path
from rundial.control import RuntimeController
folder = Path(sys.argv[1])
def apply(ctx, number):
    with (folder / "applied").open("a") as file:
        file.write(f"{number}\\n")
controller = RuntimeController(folder)
controller.register("note", apply)
print("ready", flush=True)
while True:
    controller.poll_and_apply(every_s=0)
"""


def test_a_kill_applies_nothing_twice_and_loses_nothing(folder):
    """SIGKILL at random moments, many times: each command at most once, and each that was not applied says why."""
    (number, rounds) = (0, int(os.environ.get("KILL_ROUNDS", "12")))
    folder.mkdir()
    for seed in range(rounds):
        process = subprocess.Popen([sys.executable, "-c", JOB, str(folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        until = time.monotonic() + random.Random(seed).uniform(0.01, 0.1)
        while time.monotonic() < until:
            enqueue(folder, "note", [number])
            number += 1
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = RuntimeController(folder)
    rest = []
    last.register("note", lambda ctx, n: rest.append(n))
    last.poll_and_apply(every_s=0)
    applied = [int(line) for line in (folder / "applied").read_text().splitlines()] + rest
    acks = {ack["id"]: ack for ack in lines(folder / "acks.jsonl")}
    commands = lines(folder / "commands.jsonl")
    assert len(applied) == len(set(applied)) and applied == sorted(applied)
    assert len(lines(folder / "acks.jsonl")) == len(acks) == len(commands) == number
    for command in commands:
        ack = acks[command["id"]]
        assert ack["status"] == "applied" or ack["error"] == INTERRUPTED
        assert ack["status"] != "applied" or command["args"][0] in applied


def test_a_disk_that_refuses_is_no_exception(job, folder):
    """What cannot be noted is not applied, and is said; the acknowledgement follows when it can be written."""
    controller, got = job
    (folder / "begun.jsonl").mkdir()
    enqueue(folder, "lr", [1])
    (ack,) = controller.poll_and_apply(every_s=0)
    assert (ack["status"], got) == ("failed", [])
    assert "not applied" in ack["error"]


RANK = """
import json, os, sys, time
import torch.distributed as dist
from rundial.control import RuntimeController
dist.init_process_group("gloo")
rank = dist.get_rank()
got = []
def apply(ctx, value):
    if value == "bad" and rank == 1:
        raise RuntimeError("rank 1 cannot")
    got.append(value)
controller = RuntimeController(ddp=True)
controller.register("x", apply)
controller.configure(sys.argv[1])
for step in range(400):
    time.sleep(0.001 * (1 + rank))
    controller.poll_and_apply(every_s=0.05 if rank == 0 else 7.0)
    if step == 0 and rank == 0:
        print("ready", flush=True)
dist.barrier()
with open(sys.argv[2] + str(rank), "w") as file:
    json.dump(got, file)
dist.destroy_process_group()
"""


@pytest.mark.frameworks
def test_K12_ranks_apply_in_the_same_order(folder, tmp_path):
    """Two ranks with different clocks and paces: same commands, same order, one answer with each rank's outcome."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        unused_port = probe.getsockname()[1]
    variables = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(unused_port), "WORLD_SIZE": "2"}
    command = [sys.executable, "-c", RANK, str(folder), str(tmp_path / "rank")]
    ranks = [
        subprocess.Popen(command, env=variables | {"RANK": str(n)}, stdout=subprocess.PIPE, text=True) for n in range(2)
    ]
    assert ranks[0].stdout.readline() == "ready\n"
    for value in (1, 2, "bad", 3):
        enqueue(folder, "x", [value])
        time.sleep(0.05)
    assert [process.wait(60) for process in ranks] == [0, 0]
    for process in ranks:
        process.stdout.close()
    assert [json.loads((tmp_path / f"rank{n}").read_text()) for n in range(2)] == [[1, 2, "bad", 3], [1, 2, 3]]
    acks = lines(folder / "acks.jsonl")
    assert [ack["status"] for ack in acks] == ["applied", "applied", "failed", "applied"]
    assert acks[2]["ranks"] == {"0": "applied", "1": "failed"}
    assert acks[2]["error"] == "rank 1: rank 1 cannot"


def test_K13_without_a_group_it_is_alone(folder):
    """`ddp=True` asks for nothing that is not there."""
    controller = RuntimeController(folder, ddp=True)
    controller.register("x", lambda ctx: None)
    enqueue(folder, "x")
    assert [ack["status"] for ack in controller.poll_and_apply(every_s=0)] == ["applied"]


@pytest.mark.parametrize(
    "word, value",
    [
        ("-0.5", -0.5),
        ("1e-3", 0.001),
        ("-1e-3", -0.001),
        ("true", True),
        ("null", None),
        ("[1,2]", [1, 2]),
        ('"s"', "s"),
        ("plain", "plain"),
        ("-x", "-x"),
    ],
)
def test_K14_K15_values_on_the_command_line(folder, capsys, word, value):
    """JSON where it is JSON, else text; it prints the command it wrote."""
    assert main(["-q", str(folder), "a.b", word]) == 0
    assert json.loads(capsys.readouterr().out)["args"] == [value]
    assert lines(folder / "commands.jsonl")[0]["args"] == [value]


@pytest.mark.parametrize(
    "words", [[], ["a"], ["-q"], ["-q", "D"], ["-q", "D", "a", "--kwargs", "[1]"], ["-q", "D", "a", "--kwargs", "{"]]
)
def test_K16_K17_mistakes_in_the_call(words, capsys):
    """Exit code 2, the usage, and what was wrong."""
    assert main(words) == 2
    assert "usage:" in capsys.readouterr().err


def test_K17_a_control_without_arguments(folder, capsys):
    """The directory is made; keyword arguments come as a JSON object, null for none."""
    assert main(["-q", str(folder), "save_ckpt", "--kwargs", '{"label": "manual"}']) == 0
    assert main(["-q", str(folder), "save_ckpt", "--kwargs", "null"]) == 0
    assert [command["kwargs"] for command in lines(folder / "commands.jsonl")] == [{"label": "manual"}, {}]


def test_K18_status(job, folder, tmp_path, capsys):
    """Counts and the last acknowledgements, also of a directory that does not exist."""
    controller, _ = job
    for number in range(12):
        enqueue(folder, "lr", [number])
    controller.poll_and_apply(every_s=0)
    assert main(["-q", str(folder), "status", "--last", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["commands"], found["acks"], len(found["last_acks"])) == (12, 12, 3)
    assert status(folder, 0)["last_acks"] == []
    assert main(["-q", str(tmp_path / "none"), "status"]) == 0


def test_a_torn_line_of_another_writer_costs_only_itself(folder):
    """The next command begins a line of its own."""
    queue = CommandQueue(folder)
    (folder / "commands.jsonl").write_text('{"id": "torn')
    enqueue(folder, "x", [1])
    torn, whole = queue.take()
    assert torn.problem is not None
    assert whole.args == [1]


@pytest.mark.frameworks
def test_K19_K20_two_ranks_under_torchrun_while_a_second_shell_turns(folder):
    """The example as it stands: learning rate and dropout change on both ranks, and a bad value says why not."""
    root = Path(__file__).parents[2]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0"]
    torchrun[3:3] = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    variables = os.environ | {"RUNTIMECTL_DIR": str(folder), "DDP_SECONDS": "60", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*torchrun, str(root / "examples" / "ddp_train.py")], env=variables, stdout=subprocess.PIPE, text=True
    ) as training:
        try:
            assert training.stdout.readline().startswith("polling")
            for shell in (
                ["rundial", "control", "--queue-dir", str(folder), "optimizer.lr.multiplier", "0.5"],
                ["rundial", "control", "-q", str(folder), "model.dropout.p", "0.2"],
            ):
                subprocess.run([sys.executable, "-m", *shell], check=True, capture_output=True, timeout=60)
            for words in (
                ["save_ckpt"],
                ["save_ckpt", "--kwargs", '{"label":"manual"}'],
                ["optimizer.lr.multiplier", "-1"],
                ["stop"],
            ):
                assert main(["-q", str(folder), *words]) == 0
            said, _ = training.communicate(timeout=60)
        finally:
            training.kill()
    assert training.returncode == 0, said
    assert sorted(said.splitlines()[-2:]) == ["rank 0: lr 0.05, dropout 0.2", "rank 1: lr 0.05, dropout 0.2"]
    acks = lines(folder / "acks.jsonl")
    assert [ack["status"] for ack in acks] == ["applied"] * 4 + ["failed", "applied"]
    assert [ack["ranks"] for ack in acks[:4]] == [{"0": "applied", "1": "applied"}] * 4
    assert acks[4]["error"] == "multiplier must be > 0"
    assert (folder / "latest.pt").exists() and (folder / "manual.pt").exists()
