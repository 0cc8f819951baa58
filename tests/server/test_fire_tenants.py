"""Two workspaces thrown at each other: requests over every route of the OpenAPI document with the other one's ids.

What must never come out: a text that stands only in the other workspace, an id of its that was not in the request
itself, or a 5xx. What must never go in: a change over there. ``FUZZ_EXAMPLES`` is how many requests each route gets.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import requests
from hypothesis import strategies as st

from rundial.events import Dial, EvalResult, EvalStart, LogLine, Marker, Metrics, RunEnd, RunUpdate, Span
from tests.server.conftest import RunningServer, Sender
from tests.server.uploader import entry, finalize, initiate, put_missing, upload

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "5"))
SKIPPED = {
    ("GET", "/api/v1/stream"),  # never ends; below
    ("POST", "/api/v1/auth/logout"),
    ("PUT", "/api/v1/blobs/{uploadId}/{sha256}"),  # a signed address is the permission: test_fire_uploads
    ("GET", "/api/v1/blobs/{artifactId}/{sha256}"),
}
ODD = ["", "some", "..", "%2e%2e", "run_*", "%", "_", "' OR 1=1--", "null", "*", "\x00", "x" * 300]
ALIASES = {
    "ws": ("workspaceSlug", "workspaceId"),
    "workspace": ("workspaceSlug", "workspaceId"),
    "pj": ("projectSlug", "projectId"),
    "project": ("projectSlug", "projectId"),
    "projectId": ("projectId", "projectSlug"),
    "runIds": ("runId",),
    "baselineEvalRunId": ("evalRunId",),
    "candidateEvalRunId": ("evalRunId",),
    "stream": ("stream",),
    "cursor": ("nextCursor", "cursor"),
    "artifactRef": ("artifactRef", "artifactId", "name"),
}
"""Names under which an id is asked for, and those under which answers give it."""


class Tenant:
    """A workspace with a bit of everything in it, in which a word stands that stands nowhere else."""

    def __init__(self, server: RunningServer, slug: str) -> None:
        self.server = server
        self.slug = slug
        self.word = f"canary-of-{slug}"
        self.key: str = server.post("/api/v1/workspaces", json={"slug": slug}).json()["apiKey"]
        self.run_id = f"run_{slug}"
        self.ids: dict[str, set[str]] = defaultdict(set)
        self._fill()
        for answer in self.views().values():
            self._harvest(answer)

    def _fill(self) -> None:
        """One of each kind of thing."""
        word, now = self.word, time.time_ns()
        base = f"/api/v1/workspaces/{self.slug}"
        made = self.call("POST", f"{base}/projects", {"slug": f"project-{self.slug}", "name": word})
        self.project = made["projectId"]
        sender = Sender(self.server, self.run_id, project=f"project-{self.slug}", key=self.key)
        self._start(sender, tags=[word], config={word: word}, notes=word, group=word)
        sender.send(
            Metrics(now, 1, {"loss": 0.5, word: 1.0, "text": word}),
            LogLine(now, "info", word),
            Marker(now, "alert", word, 1, {"text": word}),
            Span("ab" * 16, "cd" * 8, None, word, "internal", now, now + 5),
            RunUpdate(now, summary={word: word}, notes=word),
            EvalStart(now, f"evr_{self.slug}", f"suite {word}"),
            EvalResult(now, f"evr_{self.slug}", word, word, 1.0, True, meta={word: word}),
            Dial(now, "lr", "float", 0.0, 1.0, description=word, value=0.5),
        )
        self.ids["stream"].add(sender.stream)
        files = {f"{word}.txt": word.encode()}
        artifact = upload(self.server, self.run_id, files, self.key, metadata={word: word})["artifact"]
        self.ids["artifactId"].add(artifact["artifactId"])
        picture = {"picture": word.encode()}
        media = {"key": "pictures", "step": 1, "mediaType": "image", "caption": word}
        shown = [entry("picture", word.encode(), contentType="image/png")]
        begun = initiate(self.server, self.run_id, {}, self.key, name="media", files=shown, media=media)
        put_missing(begun, picture)
        assert finalize(self.server, self.run_id, begun, self.key).status_code == 200
        begun = initiate(self.server, self.run_id, {"half": word.encode()}, self.key, name="half")
        self.ids["uploadId"].add(begun["uploadId"])
        self.call("POST", f"/api/v1/runs/{self.run_id}/commands", {"name": "lr", "value": 0.25, "reason": word})
        agent = self.call("POST", f"{base}/agents", {"name": word})
        keys = f"{base}/agents/{agent['agentId']}/api-keys"
        self.call("POST", keys, {"projectSlug": f"project-{self.slug}", "label": word, "scopes": ["project:read"]})
        label = {"label": word, "scopes": ["project:read"]}
        self.call("POST", f"{base}/projects/project-{self.slug}/api-keys", label)
        self.call("POST", f"{base}/users", {"email": f"{word}@example.org", "name": word})
        unmentioned = Sender(self.server, f"run_{word}", project=word, key=self.key)
        self._start(unmentioned)
        unmentioned.log(1, loss=1.0)
        gone = Sender(self.server, f"run_gone_{self.slug}", project=f"project-{self.slug}", key=self.key)
        self._start(gone, tags=[word])
        gone.send(RunEnd(now, "completed"))
        self.call("POST", "/api/v1/runs/delete", {"runIds": [gone.run_id]})
        self.ids["runId"] |= {self.run_id, gone.run_id}

    def _start(self, sender: Sender, **fields: Any) -> None:
        from rundial.events import RunStart

        start = RunStart(time.time_ns(), sender.run_id, self.slug, sender.project, self.word, **fields)
        answer = sender.send(start)
        assert answer.status_code == 200, answer.text

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A request of the workspace's owner, which must succeed."""
        answer = self.server.call(method, path, key=self.key, json=body)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    def views(self) -> dict[str, Any]:
        """Everything that there is to see of it, by address."""
        base, run, project = f"/api/v1/workspaces/{self.slug}", f"/api/v1/runs/{self.run_id}", self.project
        slug = f"project-{self.slug}"
        reads = [
            *(f"{base}/{name}" for name in ("projects", "agents", "users")),
            *(f"{base}/projects/{slug}/{name}" for name in ("api-keys", "runs/query", f"runs/{self.run_id}")),
            *(f"{run}{name}" for name in ("", "/artifacts", "/media", "/markers", "/dials", "/commands", "/evals")),
            f"{run}/traces/{'ab' * 16}",
            *(f"/api/v1/projects/{project}/{name}" for name in ("artifacts", "alerts", "deleted", "control", "evals")),
            f"/api/v1/metrics/keys?runId={self.run_id}",
        ]
        asked = {
            "query/logs": {"runId": self.run_id},
            "query/traces": {"runId": self.run_id},
            "query/series": {"runId": self.run_id, "metricKeys": ["loss", "text", self.word]},
            "query/evals/results": {"evalRunId": f"evr_{self.slug}"},
        }
        found = {path: self.call("GET", path) for path in reads}
        found |= {path: self.call("POST", f"/api/v1/{path}", body) for path, body in asked.items()}
        for agent in found[f"{base}/agents"]["agents"]:
            path = f"{base}/agents/{agent['agentId']}/api-keys"
            found[path] = self.call("GET", path)
        return found

    def _harvest(self, value: Any, name: str = "") -> None:
        """Remember every id in an answer by the name it stands under, and none of the texts that must not come out."""
        if isinstance(value, dict):
            for key, item in value.items():
                self._harvest(item, key)
        elif isinstance(value, list):
            for item in value:
                self._harvest(item, name)
        elif not isinstance(value, str) or not value or self.word in value or len(value) > 300:
            return
        elif name.endswith(("Id", "Slug", "Cursor", "sha256", "Ref", "hash")) or name in ("cursor", "stream"):
            self.ids[name].add(value)

    def secrets(self) -> set[str]:
        """Ids that nobody else may be told."""
        return {it for name in ("runId", "projectId", "artifactId", "uploadId", "keyId", "agentId", "userId", "stream")
                for it in self.ids[name] if len(it) > 8}  # fmt: skip


@pytest.fixture
def tenants(server: RunningServer) -> tuple[Tenant, Tenant]:
    return Tenant(server, "alpha"), Tenant(server, "bravo")


class Maker:
    """Makes requests for one tenant out of the document and the ids of both."""

    def __init__(self, described: dict[str, Any], own: Tenant, other: Tenant) -> None:
        self._schemas = described["components"]["schemas"]
        self._own = own
        self._other = other
        self._lean = "mixed"

    def text(self, draw: Any, name: str) -> str:
        """Something for a field of that name."""
        names = ALIASES.get(name, (name,))
        theirs = sorted({it for known in names for it in self._other.ids.get(known, ())})
        mine = sorted({it for known in names for it in self._own.ids.get(known, ())})
        choices = {"own": [mine], "other": [theirs], "mixed": [theirs, mine, ODD]}[self._lean]
        return str(draw(st.sampled_from(draw(st.sampled_from([it for it in choices if it] or [ODD])))))

    def value(self, draw: Any, schema: dict[str, Any], name: str, depth: int = 0) -> Any:
        """Something of a schema, or now and then of none."""
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        if "anyOf" in schema:
            return self.value(draw, draw(st.sampled_from(schema["anyOf"])), name, depth)
        if "enum" in schema or "const" in schema:
            return draw(st.sampled_from(schema.get("enum") or [schema["const"]]))
        kind = schema.get("type")
        if kind == "object" and depth < 4:
            needed, properties = schema.get("required", []), schema.get("properties", {})
            chosen = [key for key in properties if key in needed or draw(st.integers(0, 2))]
            return {key: self.value(draw, properties[key], key, depth + 1) for key in chosen}
        if kind == "array" and depth < 4:
            count = draw(st.integers(1, 3))
            return [self.value(draw, schema.get("items", {"type": "string"}), name, depth + 1) for _ in range(count)]
        if name == "waitMs":
            return 0
        if kind == "integer":
            return draw(st.sampled_from([schema.get("minimum", 0), 1, 100, 2**31, -1]))
        if kind == "number":
            return draw(st.sampled_from([0.0, 1.5, -1e300]))
        if kind == "boolean":
            return draw(st.booleans())
        if kind == "null":
            return None
        return self.text(draw, name)

    def request(self, draw: Any, path: str, operation: dict[str, Any]) -> tuple[str, dict[str, str], Any]:
        """An address, its query and a body, whose ids are of the one workspace, of the other, or of both."""
        self._lean = draw(st.sampled_from(["own", "other", "other", "mixed", "mixed"]))
        address = re.sub(
            r"{(\w+)}", lambda found: requests.utils.quote(self.text(draw, found[1]), safe="") or "x", path
        )
        query = {
            it["name"]: self.text(draw, it["name"])
            for it in operation["parameters"]
            if it["in"] == "query" and draw(st.integers(0, 2))
        }
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        body = self.value(draw, content["schema"], "") if content else None
        return address, query, body


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            if (method.upper(), path) not in SKIPPED:
                yield method.upper(), path, operation


def attack(server: RunningServer, own: Tenant, other: Tenant) -> tuple[list[Any], int, int]:
    """What ``own`` gets out of ``other``; how many requests that took, and how many were answered with 200."""
    described = server.get("/api/openapi.json").json()
    maker = Maker(described, own, other)
    hidden = other.secrets()
    leaks: list[Any] = []
    statuses: list[int] = []
    session = requests.Session()
    session.headers["authorization"] = f"Bearer {own.key}"

    def throw(method: str, path: str, operation: dict[str, Any], data: Any) -> None:
        address, query, body = maker.request(data.draw, path, operation)
        answer = session.request(method, server.url + address, params=query, json=body, timeout=20)
        statuses.append(answer.status_code)
        sent = " ".join([requests.utils.unquote(address), json.dumps(query), json.dumps(body)])
        hidden.difference_update([it for it in hidden if it in sent])  # he may have made something of that name
        told = [it for it in hidden if it in answer.text]
        if answer.status_code >= 500 or other.word in answer.text or told:
            leaks.append((method, address, query, body, answer.status_code, told, answer.text[:300]))

    settings = hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    for number, (method, path, operation) in enumerate(operations(described)):
        hypothesis.seed(number)(settings(hypothesis.given(data=st.data())(throw)))(method, path, operation)
    session.close()
    return leaks, len(statuses), statuses.count(200)


def test_nothing_of_the_other_workspace_comes_out_or_is_changed(
    server: RunningServer, tenants: tuple[Tenant, Tenant]
) -> None:
    """Each of the two tries it with the other, on every route."""
    for own, other in (tenants, tenants[::-1]):
        before = settled(other.views())

        leaks, asked, answered = attack(server, own, other)

        print(f"{own.slug}: {asked} requests, {answered} answered with 200")
        assert not leaks, "\n".join(map(str, leaks))
        assert answered > asked / 20  # those that stay in their own workspace go through
        assert settled(other.views()) == before
        assert server.get("/api/v1/workspaces", key=own.key).text.count(other.slug) == 0


def settled(views: dict[str, Any]) -> str:
    """What was seen, without the times at which a key was used last or an address runs out."""
    text = json.dumps(views, sort_keys=True)
    return re.sub(r'"(lastUsedAtMs|lastSeenAtMs|lastSeenMs|expiresAtMs|url|downloadUrl)": [^,}]*', "", text)
