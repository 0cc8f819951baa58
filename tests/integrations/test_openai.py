"""The client of OpenAI, with a server that speaks its wire, and what its calls leave in a run."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rundial.events import Span
from rundial.integrations.openai import trace_client
from rundial.testing import capture_run

openai = pytest.importorskip("openai")
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


class Model(BaseHTTPRequestHandler):
    """Answers chat completions, streamed when asked, and embeddings; a model named `broken` is refused."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if asked["model"] == "broken":
            return self.answer({"error": {"message": "no such model", "type": "invalid_request_error"}}, 404)
        if self.path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
            return self.answer({"object": "list", "model": "small", "data": data, "usage": USAGE})
        head = {"id": "chatcmpl-1", "created": 1, "model": "small-1"}
        if not asked.get("stream"):
            message = {"role": "assistant", "content": f"you said {asked['messages'][-1]['content']}"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return self.answer({**head, "object": "chat.completion", "choices": [choice], "usage": USAGE})
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for word in ("hel", "lo", None):
            delta = {} if word is None else {"content": word}
            choice = {"index": 0, "delta": delta, "finish_reason": None if word else "stop"}
            piece = {**head, "object": "chat.completion.chunk", "choices": [choice]}
            self.wfile.write(b"data: " + json.dumps(piece | ({} if word else {"usage": USAGE})).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Silence."""


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def spans(server):
    return [event for event in server.events if isinstance(event, Span)]


def ask(client, text="hi", **more):
    return client.chat.completions.create(model="small", messages=[{"role": "user", "content": text}], **more)


def test_a_call_is_a_span_with_tokens(address):
    """The answer is what the client gives without us, and the span has prompt, answer, model and tokens."""
    with capture_run() as (run, server), openai.OpenAI(base_url=address, api_key="k") as client:
        trace_client(client, run=run)
        trace_client(client, run=run)
        with run.trace("agent"):
            assert ask(client, temperature=0.5).choices[0].message.content == "you said hi"
        client.embeddings.create(model="small", input="text")
    call, outer, embedding = spans(server)[0], spans(server)[1], spans(server)[2]
    assert (call.name, call.kind, call.status, outer.name) == ("chat.completions.create", "client", "ok", "agent")
    assert (call.trace_id, call.parent_span_id) == (outer.trace_id, outer.span_id)
    assert (call.model, call.system, call.tokens_in, call.tokens_out) == ("small-1", "127.0.0.1", 7, 5)
    assert call.attrs["messages"] == [{"role": "user", "content": "hi"}]
    assert (call.attrs["output"], call.attrs["temperature"]) == (["you said hi"], 0.5)
    assert embedding.attrs["embeddings"] == 1


def test_a_stream_is_one_span(address):
    """From the call to its last chunk, with the whole text; also when it is left in the middle."""
    with capture_run() as (run, server), openai.OpenAI(base_url=address, api_key="k") as client:
        trace_client(client, run=run)
        said = [piece.choices[0].delta.content for piece in ask(client, stream=True)]
        with ask(client, stream=True) as stream:
            next(iter(stream))
    whole, part = spans(server)
    assert said == ["hel", "lo", None]
    assert (whole.attrs["output"], whole.attrs["chunks"], whole.tokens_out) == ("hello", 3, 5)
    assert [event[0] for event in whole.events] == ["first chunk"]
    assert (part.attrs["output"], part.attrs["chunks"]) == ("hel", 1)


def test_a_refusal_reaches_the_caller_and_the_trace(address):
    """The client's own exception, and a span that failed with it."""
    with capture_run() as (run, server), openai.OpenAI(base_url=address, api_key="k", max_retries=0) as client:
        trace_client(client, run=run)
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="broken", messages=[])
    (span,) = spans(server)
    assert (span.status, span.events[0][2]["type"]) == ("error", "NotFoundError")


def test_asyncio(address):
    """Calls side by side, streamed and not, each with its own span under its own parent."""

    async def talk(run, client, name):
        async with run.trace(name):
            answer = await ask(client, name)
            pieces = [piece async for piece in await ask(client, name, stream=True)]
        return answer.choices[0].message.content, len(pieces)

    async def main(run):
        async with openai.AsyncOpenAI(base_url=address, api_key="k") as client:
            trace_client(client, run=run)
            return await asyncio.gather(talk(run, client, "a"), talk(run, client, "b"))

    with capture_run() as (run, server):
        assert asyncio.run(main(run)) == [("you said a", 3), ("you said b", 3)]
    parents = {span.name: span for span in spans(server) if span.name in "ab"}
    for span in spans(server):
        if span.name not in "ab":
            assert span.parent_span_id == parents[span.attrs["messages"][0]["content"]].span_id
