"""Traces of W&B and the autolog of model clients are spans of the run."""

from types import SimpleNamespace

import pytest

import rundial.compat.wandb as wandb
from rundial.compat.wandb.sdk.data_types.trace_tree import Span, SpanKind, Trace, WBTraceTree
from tests.integrations.test_openai import address, ask

__all__ = ["address"]


def spans_of(server, run):
    """The spans of the run's traces, by name."""
    asked = {"runId": run.id}
    found = server._session.post(f"{server.url}/api/v1/query/traces", json=asked, timeout=20).json()["traces"]
    return {
        span["name"]: span
        for trace in found
        for span in server.get(f"/api/v1/runs/{run.id}/traces/{trace['traceId']}")["spans"]
    }


def test_trace_is_a_tree_of_spans(server):
    """Names, times, kinds, ends, inputs and outputs, and who is below whom; the curves beside it are untouched."""
    run = wandb.init(project="wb-traces")
    root = Trace("agent", kind="agent", start_time_ms=1000, end_time_ms=4000, metadata={"user": "u"})
    call = Trace("model", kind="LLM", status_code="success", start_time_ms=2000, end_time_ms=3000)
    call.add_inputs_and_outputs({"q": "how old"}, {"a": "25"})
    tool = Trace("search", "tool", "error", "no net", start_time_ms=3000, end_time_ms=3500)
    root.add_child(call).add_child(tool)
    root.inputs = {"question": "?"}
    root.metadata = {"more": 1}
    assert (root.kind, root.inputs, root.metadata) == ("AGENT", {"question": "?"}, {"user": "u", "more": 1})
    root.log("trace")
    run.log({"loss": 1.0})
    run.finish()
    found = spans_of(server, run)
    assert {name: (span["kind"], span["status"]) for name, span in found.items()} == {
        "agent": ("internal", "unset"),
        "model": ("client", "ok"),
        "search": ("tool", "error"),
    }
    assert {found[name]["parentSpanId"] for name in ("model", "search")} == {found["agent"]["spanId"]}
    assert (found["model"]["attrs"]["inputs"], found["model"]["attrs"]["outputs"]) == ({"q": "how old"}, {"a": "25"})
    assert int(found["agent"]["startNs"]) == 1_000_000_000 and found["search"]["message"] == "no net"
    assert server.points(run.id, "loss") == [(1, 1.0)]


def test_trace_tree_is_logged_like_media(server):
    """The older form goes through run.log; one that holds itself ends, too."""
    root = Span(name=None, span_kind=SpanKind.CHAIN, start_time_ms=1, end_time_ms=2)
    root.add_child_span(root)
    root.add_attribute("k", 1)
    with wandb.init(project="wb-traces") as run:
        run.log({"chain": WBTraceTree(root, {"_kind": "llm"})})
    found = spans_of(server, run)
    assert list(found) == ["chain"] and found["chain"]["attrs"]["model_dict"] == {"_kind": "llm"}


def test_trace_refuses_what_wandb_refuses():
    """Another kind, another status, and a trace without a run."""
    with pytest.raises(AssertionError, match="LLM"):
        Trace("x", kind="dream")
    with pytest.raises(AssertionError, match="SUCCESS"):
        Trace("x", status_code="maybe")
    with pytest.raises(wandb.Error, match=r"wandb\.init"):
        Trace("x").log("x")


def test_autolog_of_openai(server, address):
    """Every client is traced from then on, and none after disable, which ends the run that it began."""
    openai = pytest.importorskip("openai")
    from rundial.compat.wandb.integration.openai import autolog

    former = openai.resources.chat.completions.Completions.create
    with openai.OpenAI(base_url=address, api_key="k") as client:
        autolog({"project": "wb-openai"})
        run = wandb.run
        assert ask(client).choices[0].message.content == "you said hi"
        "".join(piece.choices[0].delta.content or "" for piece in ask(client, "stream", stream=True))
        client.embeddings.create(model="small", input="text")
        autolog.disable()
        assert wandb.run is None and openai.resources.chat.completions.Completions.create is former
        ask(client)
    found = spans_of(server, run)
    assert set(found) == {"chat.completions.create", "embeddings.create"}
    assert found["chat.completions.create"]["tokensIn"] == 7


def test_sagemaker_needs_no_key(tmp_path):
    """The file has what it was given, and no key."""
    wandb.sagemaker_auth({"A": "b"}, str(tmp_path), api_key="secret")
    assert (tmp_path / "secrets.env").read_text() == "A=b\n"


def test_fabric_logger(server, tmp_path):
    """Fabric logs metrics, parameters, a table and pictures to a run of its own, and ends none."""
    np = pytest.importorskip("numpy")
    fabric = pytest.importorskip("lightning.fabric")
    from rundial.compat.wandb.integration.lightning.fabric import WandbLogger

    logger = WandbLogger(project="wb-fabric", name="f", save_dir=tmp_path, prefix="p", tags=["a"])
    loop = fabric.Fabric(accelerator="cpu", devices=1, loggers=[logger])
    logger.log_hyperparams(vars(SimpleNamespace(lr=0.1)))
    for step in range(3):
        loop.log("loss", 1 / (step + 1), step=step)
    logger.log_table("t", columns=["a"], data=[[1]])
    logger.log_image("pictures", [np.zeros((4, 4, 3), np.uint8)] * 2, caption=["a", "b"])
    logger.finalize("success")
    run = logger.experiment
    assert (logger.name, logger.version, run is wandb.run) == ("wb-fabric", run.id, True)
    run.finish()
    assert [value for _, value in server.points(run.id, "p-loss")] == [1, 1 / 2, 1 / 3]
    stored = server.get(f"/api/v1/runs/{run.id}")
    assert (stored["config"]["lr"], stored["tags"], stored["runName"]) == (0.1, ["a"], "f")
    kinds = [item["mediaType"] for item in server.get(f"/api/v1/runs/{run.id}/media")["items"]]
    assert sorted(kinds) == ["image", "image", "table"]
