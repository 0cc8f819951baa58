"""Calls of an OpenAI-style client in the traces of a run, with a model that only repeats what it hears."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from openai import OpenAI

import rundial as rd
from rundial.integrations.openai import trace_client


class Echo(BaseHTTPRequestHandler):
    """A model that says what was said to it."""

    def do_POST(self) -> None:
        """Answer one chat completion."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        message = {"role": "assistant", "content": asked["messages"][-1]["content"]}
        body = json.dumps(
            {
                "id": "echo-1",
                "object": "chat.completion",
                "created": 0,
                "model": asked["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6},
            }
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


server = HTTPServer(("127.0.0.1", 0), Echo)
threading.Thread(target=server.serve_forever, daemon=True).start()

with rd.init(project="examples", kind="agent") as run:
    client = trace_client(OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none"), run=run)
    with run.trace("conversation"):
        for text in ("hello", "goodbye"):
            answer = client.chat.completions.create(model="echo", messages=[{"role": "user", "content": text}])
            print(answer.choices[0].message.content)
    client.close()
server.shutdown()
