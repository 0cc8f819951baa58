"""``rundial verify``: does what a run says it logged agree with what the server has?"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

RUN = """
    import os, signal, sys
    import rundial as rd
    run = rd.init(project="checked", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
    for step in range(1000):
        run.log({"loss": step / 3})
    print(run.id, flush=True)
"""
HALF_WAY = """
    assert run.flush(10)
    print("half", flush=True)
    sys.stdin.readline()
    for step in range(1000, 1500):
        run.log({"loss": step / 3})
        if step == 1249:
            run.flush(0)  # a chunk of its own
    print(run.finish(0.5))
"""
TOO_LARGE = """
    import sys
    import rundial as rd
    run = rd.init(project="checked", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
    for step in range(20):
        run.log({"loss": step}, context={"note": "x" * (300_000 if step % 4 == 3 else 3)})
    print(run.id, run.diagnostics().dropped["too_large"], run.finish(20))
"""


def call(*arguments, key="", **environment):
    command = [sys.executable, "-m", "rundial", *map(str, arguments)]
    variables = os.environ | {"RUNDIAL_API_KEY": key} | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=variables)


def verify(server, run_id):
    return call("verify", run_id, "--endpoint", server.url, key=server.key)


def row(answer):
    """The cells of the only attempt."""
    heading, line = answer.stdout.splitlines()[:2]
    starts = [heading.index(name) for name in ("logged", "received", "waiting here", "dropped", "rejected", "verdict")]
    logged = line[: starts[0] + len("logged")].split()[-1]
    rest = line[starts[0] + len("logged") :].split(None, 2)
    return {"logged": logged, "received": rest[0], "waiting": rest[1], "verdict": line[starts[5] :], "line": line}


def half_way(start_server, script):
    """A run whose second half met no server any more, and the address of the server that is gone."""
    server = start_server(watched=False)
    process = script(RUN + HALF_WAY, server.url, server.key)
    run_id = process.stdout.readline().decode().strip()
    assert process.stdout.readline() == b"half\n"
    server.stop()
    process.stdin.write(b"\n")
    assert process.output()[0] == "False\n"
    return run_id, server.port


def test_a_clean_run_adds_up(start_server, script):
    """The client logged 1,001 records, the server has these, the account itself and the end."""
    server = start_server(watched=False)
    run_id = script(RUN, server.url, server.key).output()[0].strip()
    answer = verify(server, run_id)
    found = row(answer)
    assert (found["logged"], found["received"], found["waiting"]) == ("1,001", "1,003", "0")
    assert found["verdict"].rstrip() == "whole"
    assert (answer.returncode, answer.stdout.splitlines()[-1]) == (0, f"{run_id} adds up.")


def test_a_run_adds_up_while_records_wait(start_server, script):
    """What waits here is named and counts; after a sync it is at the server."""
    run_id, port = half_way(start_server, script)
    server = start_server(port=port, watched=False)
    answer = verify(server, run_id)
    found = row(answer)
    assert (found["logged"], found["received"], found["waiting"]) == ("account", "1,001", "502")
    assert "rundial sync" in found["verdict"]
    assert answer.returncode == 0
    assert call("sync", key=server.key).returncode == 0
    found = row(verify(server, run_id))
    assert (found["logged"], found["received"], found["waiting"]) == ("1,501", "1,503", "0")


def test_a_deleted_spool_is_noticed(start_server, script):
    """Nobody knows what was in it, and verify says so."""
    run_id, port = half_way(start_server, script)
    shutil.rmtree(".rundial_spool")
    server = start_server(port=port, watched=False)
    answer = verify(server, run_id)
    assert answer.returncode == 1
    assert "fell silent after record 1,001" in row(answer)["verdict"]
    assert "not known whether" in answer.stderr


def damage(place):
    (segment,) = Path(".rundial_spool").glob("*/*.seg")
    data = bytearray(segment.read_bytes())
    data[place] ^= 1
    segment.write_bytes(data)


def test_a_hole_is_counted(start_server, script):
    """A chunk of what waits is damaged: verify counts the records that are gone, before the rest is sent and after."""
    run_id, port = half_way(start_server, script)
    damage(1000)
    server = start_server(port=port, watched=False)
    before = verify(server, run_id)
    assert call("sync", key=server.key).returncode == 0
    after = verify(server, run_id)
    assert (before.returncode, after.returncode) == (1, 1)
    assert "missing: 250 after record 1,001" in row(before)["verdict"]
    assert "missing: 250 lost to spool_damaged" in row(after)["verdict"]
    assert after.stderr == f"error: 250 records of {run_id} are missing.\n"


def test_damage_at_the_end_is_noticed(start_server, script):
    """The last chunk of what waits is damaged: how many records it held is not known, and that is said."""
    run_id, port = half_way(start_server, script)
    damage(-5)
    server = start_server(port=port, watched=False)
    before = verify(server, run_id)
    assert call("sync", key=server.key).returncode == 0
    after = verify(server, run_id)
    assert (before.returncode, after.returncode) == (1, 1), before.stdout + after.stdout
    assert "damaged" in row(before)["verdict"]


def test_a_killed_process_has_no_account_but_a_whole_sequence(start_server, script):
    """What it left was taken over up to its last record: there is no ledger, and nothing is missing."""
    server = start_server(watched=False)
    process = script(RUN + "    os.kill(os.getpid(), signal.SIGKILL)", server.url, server.key)
    run_id = process.stdout.readline().decode().strip()
    assert process.wait(30) == -9
    before = verify(server, run_id)
    assert before.returncode == 0
    assert call("sync", key=server.key).returncode == 0
    answer = verify(server, run_id)
    found = row(answer)
    assert (found["logged"], found["received"], found["waiting"]) == ("account", "1,002", "0")
    assert "left no account" in found["verdict"]
    assert answer.returncode == 0


def test_what_the_client_dropped_and_counted_is_not_missing(start_server, script):
    """Records that never got a place in the stream stand in the client's account, and the others are there."""
    server = start_server(watched=False)
    run_id, refused, delivered = script(TOO_LARGE, server.url, server.key).output()[0].split()
    assert (refused, delivered) == ("5", "True")
    answer = verify(server, run_id)
    assert answer.returncode == 0, answer.stdout
    assert "5 too_large" in row(answer)["line"]


def test_a_living_run_adds_up(start_server, script):
    """While the process logs, what is on its way counts as such."""
    server = start_server(watched=False)
    process = script(RUN + HALF_WAY, server.url, server.key)
    run_id = process.stdout.readline().decode().strip()
    assert process.stdout.readline() == b"half\n"
    answer = verify(server, run_id)
    assert (answer.returncode, row(answer)["verdict"][:12]) == (0, "running here")
    process.stdin.write(b"\n")
    process.output()


def test_an_unknown_run_and_a_wrong_key_are_errors(start_server):
    """One line each, with exit code 1 and 2."""
    server = start_server(watched=False)
    unknown = verify(server, "run_gone")
    refused = call("verify", "run_gone", "--endpoint", server.url, key="rdk_wrong")
    nowhere = call("verify", "run_gone")
    assert [answer.returncode for answer in (unknown, refused, nowhere)] == [1, 2, 1]
    assert "knows no run run_gone" in unknown.stderr
    assert "rundial ui" in nowhere.stderr
    assert [answer.stderr.count("\n") for answer in (unknown, refused, nowhere)] == [1, 1, 1]
