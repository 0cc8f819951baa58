"""Spans reach the server: from nested blocks and tasks, through a kill, and without a server at first."""

import hashlib
import os
import signal
import time

import pytest
import requests

TRACED = """
import asyncio, sys
import rundial as rd

run = rd.init(project="traced", run_id=sys.argv[1], kind="agent", quiet=True)

@run.trace("model", kind="client", model="m-1")
async def ask(number):
    await asyncio.sleep(0.001)
    return number

async def main():
    async with run.trace("turn", attrs={"question": "who?"}) as turn:
        await asyncio.gather(*(ask(number) for number in range(3)))
        run.tool_call("search", input={"q": "Ada"}, output=["a"], status="error")
        turn.set_usage(tokens_in=100, tokens_out=20, cost_usd=0.5)

asyncio.run(main())
with run.trace("second"):
    run.log({"loss": 1.0})
forgotten = run.trace("forgotten")
run.finish(15)
print(run.diagnostics().balanced, run.diagnostics().dropped_total)
"""


def traces(server, run_id, **asked):
    answer = server._session.post(f"{server.url}/api/v1/query/traces", json={"runId": run_id, **asked}, timeout=20)
    return {trace["rootName"]: trace for trace in answer.json()["traces"]}


def check(server, run_id):
    """What TRACED logged is there, as it was."""
    found = traces(server, run_id)
    assert set(found) == {"turn", "second", "forgotten"}
    turn = found["turn"]
    assert (turn["spans"], turn["errors"], turn["tokensIn"], turn["costUsd"]) == (5, 1, 100, 0.5)
    spans = server.get(f"/api/v1/runs/{run_id}/traces/{turn['traceId']}")["spans"]
    by_name = {span["name"]: span for span in spans}
    root = by_name["turn"]["spanId"]
    assert {span["parentSpanId"] for span in spans} == {None, root}
    assert by_name["turn"]["attrs"] == {"question": "who?"}
    assert by_name["tool:search"]["attrs"]["tool.input"] == {"q": "Ada"}
    assert by_name["model"]["model"] == "m-1"
    left = server.get(f"/api/v1/runs/{run_id}/traces/{found['forgotten']['traceId']}")["spans"][0]
    assert (left["status"], left["attrs"]) == ("unset", {"rundial.unfinished": True})


def test_spans_reach_the_server(start_server, script):
    """Everything that was traced is there after finish, and the account balances."""
    server = start_server()

    out, _ = script(TRACED, "run_traced").output()

    assert out.split() == ["True", "0"]
    server.wait_for("traced", lambda run: run["status"] == "completed")
    check(server, "run_traced")


def test_spans_of_a_run_without_a_server_arrive_later(start_server, script):
    """They wait on disk for the first server that comes."""
    script(TRACED, "run_early").output()

    server = start_server()
    server.wait_for("traced", lambda run: run["status"] == "completed")

    check(server, "run_early")


def test_finished_spans_survive_sigkill(start_server, script):
    """A process that is killed a moment after a span ended loses only what was open."""
    server = start_server()
    process = script(
        """
        import time
        import rundial as rd

        run = rd.init(project="killed", run_id="run_killed", quiet=True)
        outer = run.trace("outer")
        outer.__enter__()
        for number in range(500):
            with run.trace(f"step {number}"):
                pass
        print("done", flush=True)
        time.sleep(60)
        """
    )
    assert process.stdout.readline() == b"done\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    server.wait_for("killed", lambda run: run["status"] == "crashed")
    (trace,) = traces(server, "run_killed").values()

    assert trace["spans"] == 500


def test_a_forked_child_goes_on_with_the_trace(start_server, script):
    """Its spans hang below the parent's; what is open is sent once, by whoever began it."""
    server = start_server()
    script(
        """
        import os
        import rundial as rd

        run = rd.init(project="forked", run_id="run_forked", quiet=True)
        run.flush(10)
        with run.trace("parent"):
            if os.fork() == 0:
                with run.trace("child"):
                    pass
                run.flush(10)
                os._exit(0)
            os.wait()
        run.finish(15)
        """
    ).output()
    server.wait_for("forked", lambda run: run["status"] == "completed")
    found = traces(server, "run_forked")

    assert (set(found), found["parent"]["spans"]) == ({"parent"}, 2)


@pytest.mark.parametrize("server_first", [True, False])
def test_a_large_value_is_read_back_from_the_artifact_store(start_server, script, server_first):
    """The span says where it is and what it hashes to; what is downloaded from there is what was logged."""
    server = start_server() if server_first else None
    script(
        """
        import rundial as rd

        run = rd.init(project="large", run_id="run_large", quiet=True)
        with run.trace("call", attrs={"prompt": "long é " * 50_000, "n": 1}) as span:
            span.set_attrs(image=bytes(range(256)) * 100)
        run.finish(20)
        """
    ).output()
    server = server or start_server()
    project = server.wait_for("large", lambda run: run["status"] == "completed")["projectId"]
    (trace,) = traces(server, "run_large").values()
    (span,) = server.get(f"/api/v1/runs/run_large/traces/{trace['traceId']}")["spans"]
    assert span["attrs"]["n"] == 1

    contents = {"prompt": ("long é " * 50_000).encode(), "image": bytes(range(256)) * 100}
    for key, content in contents.items():
        reference = span["attrs"][key]
        assert (reference["sizeBytes"], reference["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert fetched(server, project, reference) == content


def fetched(server, project, reference):
    """What lies where a reference says, as the page finds it; waits for an upload that is on its way."""
    deadline = time.monotonic() + 20
    listed = f"/api/v1/projects/{project}/artifacts?name={reference['artifact']}&type=trace_evidence"
    while not (found := server.get(listed)["artifacts"]):
        assert time.monotonic() < deadline, "the upload did not arrive"
        time.sleep(0.1)
    asked = {"artifactId": found[0]["artifactId"], "path": reference["path"]}
    answer = server._session.post(f"{server.url}/api/v1/artifacts/download", json=asked, timeout=20)
    return requests.get(answer.json()["url"], timeout=20).content
