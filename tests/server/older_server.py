"""A server of the older kind, as somebody else would write it from the facts of its wire: plain ``http.server``.

It has no route for records. It refuses fields that the wire does not have, takes batches in part and says only how many
it took, knows again what the wire says it must, and keeps everything in a journal that a SIGKILL does not harm.
As a process: ``python -m tests.server.older_server FOLDER [PORT]``.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "rdk_older"
PART = 64 * 1024
LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")
KINDS = ("internal", "server", "client", "producer", "consumer", "tool")
FIELDS = {
    "runs/start": "projectId kind resume client runId runName group jobType tags config",
    "status": "status finishedAtMs reason",
    "config": "config",
    "ingest/metrics": "points clientDiagnostics",
    "ingest/logs": "lines clientDiagnostics",
    "ingest/traces": "spans clientDiagnostics",
    "evals/results": "projectId evalRunId rows",
    "evals/suites": "orgId projectId name dataset scorers suiteId",
    "evals/runs": "orgId projectId suiteId config runId evalRunId",
    "ingest/media": "projectId runId items",
    "artifacts/initiate": "projectId runId name artifactType aliases metadata retentionPolicy files",
    "artifacts/finalize": "projectId runId artifactId uploadId multipartParts",
    "artifacts/use": "projectId runId artifactRef",
    "artifacts/download": "projectId runId artifactId path",
    "runs/resolve-target": "workspace project",
    "query/series": "projectId runId metricKeys range maxPointsPerSeries order",
}
ENDED = ("completed", "failed", "aborted")


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status, code, message, **more):
        super().__init__(message)
        self.status = status
        self.document = {"requestId": "req_1", "error": {"code": code, "message": message}, **more}


def wanted(held, message):
    if not held:
        raise Refused(400, "INVALID_REQUEST", message)


class OlderServer(ThreadingHTTPServer):
    """The server. ``fault(method, path, body)`` may give a status, a document or bytes, and headers to answer instead.

    Args:
        folder: where its journal and its files are.
        port: 0 for any.
    """

    daemon_threads = True

    def __init__(self, folder, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.fault = lambda method, path, body: None
        self.files_for_ended_runs = True
        self.lock = threading.RLock()
        self.calls = []
        self.runs = {}
        self.points = {}
        self.rows = 0
        """Points as they came, those that came again too."""
        self.lines = {}
        self.spans = {}
        self.results = {}
        self.suites = {}
        self.evals = {}
        self.media = []
        self.uploads = {}
        self.artifacts = []
        self.journal = None
        place = self.folder / "journal.jsonl"
        if place.exists():
            for entry in place.read_text().splitlines():
                path, body = json.loads(entry)
                self.answer("POST", path, body, {})
        self.journal = place.open("a")

    def __enter__(self):
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self._thread.join()
        self.server_close()
        self.journal.close()

    def series(self, run_id, key):
        """Steps and values, the last one of a step."""
        found = [
            (step, point["value"]) for (run, name, step), point in self.points.items() if (run, name) == (run_id, key)
        ]
        return sorted(found)

    def messages(self, run_id):
        """Texts of the log in the order of their numbers."""
        lines = [line for line in self.lines.values() if line["runId"] == run_id]
        return [line["message"] for line in sorted(lines, key=lambda line: line["sequence"])]

    def dump(self):
        """Everything, for a test in another process."""
        names = ("runs", "suites", "evals", "media", "artifacts", "rows")
        plain = {name: getattr(self, name) for name in names}
        return plain | {name: list(getattr(self, name).values()) for name in ("points", "lines", "spans", "results")}

    # -- routes ------------------------------------------------------------------------------------------------------

    def answer(self, method, path, body, query):
        name = path.removeprefix("/api/v1/")
        parts = [unquote(part) for part in name.split("/")]
        if parts[0] == "runs" and len(parts) == 3:
            name = parts[2]
        if name in FIELDS and method == "POST":
            unknown = set(body) - set(FIELDS[name].split())
            wanted(not unknown, f"unknown fields: {', '.join(sorted(unknown))}")
            with self.lock:
                document = getattr(self, "do_" + name.replace("/", "_").replace("-", "_"))(body, *parts[1:2])
                if self.journal is not None:
                    self.journal.write(json.dumps([path, body]) + "\n")
                    self.journal.flush()
            return document
        if method == "GET" and name == "cli/capabilities":
            return {"version": "0.9.0"}
        if method == "GET" and path == "/health/ready":
            return {"status": "ok"}
        if method == "GET" and path == "/dump":
            with self.lock:
                return self.dump()
        if method == "GET" and name == "metrics/keys":
            keys = dict.fromkeys(key for run, key, _ in self.points if run == query["runId"][0])
            return {"keys": [{"metricKey": key} for key in keys]}
        if method == "GET" and parts[0] == "workspaces" and parts[4:5] == ["runs"]:
            return self.run(parts[5])
        raise Refused(404, "NOT_FOUND", "no such route")

    def run(self, run_id):
        if run_id not in self.runs:
            raise Refused(404, "NOT_FOUND", f"no run {run_id}")
        return self.runs[run_id]

    def do_runs_resolve_target(self, body, *_):
        if body["workspace"] != "default-workspace" or body["project"] == "missing":
            raise Refused(404, "NOT_FOUND", "no such project")
        return {
            "orgId": "org_1", "workspaceSlug": "default-workspace", "workspaceName": "Default",
            "projectSlug": body["project"], "projectName": body["project"], "projectId": f"prj_{body['project']}",
        }  # fmt: skip

    def do_runs_start(self, body, *_):
        wanted(body["projectId"].startswith("prj_"), "no such project id")
        wanted(body["kind"] in ("training", "agent", "eval"), "kind")
        run_id, known = body["runId"], self.runs.get(body["runId"])
        if body["resume"] == "never" and known:
            raise Refused(409, "CONFLICT", f"run {run_id} exists")
        if body["resume"] == "must" and not known:
            raise Refused(404, "NOT_FOUND", f"no run {run_id}")
        if body["resume"] == "allow" and known and known["status"] in ENDED:
            raise Refused(409, "CONFLICT", f"run {run_id} is {known['status']}")
        config = body.get("config", {})
        self.check_config(config)
        if known is None:
            names = ("runId", "projectId", "kind", "runName", "group", "jobType", "tags")
            self.runs[run_id] = {name: body.get(name) for name in names} | {"config": dict(config)}
        self.runs[run_id]["status"] = "running"
        return {"runId": run_id, "projectId": body["projectId"], "kind": body["kind"]}

    def do_status(self, body, run_id):
        run = self.run(run_id)
        wanted(body["status"] in ENDED, "status")
        wanted(len(body.get("reason", "")) <= 512, "reason")
        if run["status"] in ENDED and run["status"] != body["status"]:
            raise Refused(409, "CONFLICT", f"run {run_id} is {run['status']}")
        run |= body
        return {"runId": run_id, "status": body["status"]}

    def do_config(self, body, run_id):
        run = self.run(run_id)
        if run["status"] in ENDED:
            raise Refused(409, "CONFLICT", f"run {run_id} is {run['status']}")
        self.check_config(body["config"])
        run["config"] |= body["config"]
        return {"config": run["config"]}

    @staticmethod
    def check_config(config):
        wanted(len(config) <= 512 and len(json.dumps(config)) <= 65_536, "config is too large")
        for key, value in config.items():
            wanted(len(key) <= 128, "config key")
            wanted(value is None or isinstance(value, str | int | float), f"config {key} is not flat")
            wanted(not isinstance(value, str) or len(value) <= 2048, f"config {key} is too long")

    def take(self, items, check, keep):
        accepted = 0
        for item in items:
            if item.get("runId", "") is not None and check(item):
                keep(item)
                accepted += 1
        if items and not accepted:
            raise Refused(400, "INVALID_REQUEST", "nothing in it is right")
        return {"accepted": accepted}

    def do_ingest_metrics(self, body, *_):
        def check(point):
            names = {"projectId", "runId", "metricKey", "step", "timestampMs", "value"}
            self.run(point["runId"])
            return (
                names <= set(point) <= names | {"context"}
                and point["metricKey"] != "bad"
                and isinstance(point["step"], int)
                and point["step"] >= 0
                and point["timestampMs"] >= 0
                and isinstance(point["value"], int | float)
                and not isinstance(point["value"], bool)
                and math.isfinite(point["value"])
            )

        def keep(point):
            self.rows += 1
            self.points[point["runId"], point["metricKey"], point["step"]] = point

        return self.take(body["points"], check, keep)

    def do_ingest_logs(self, body, *_):
        def check(line):
            names = {"projectId", "runId", "timestampMs", "sequence", "level", "message", "truncated"}
            return set(line) == names and line["level"] in LEVELS and len(line["message"].encode()) <= 8192

        def keep(line):
            self.lines[line["runId"], line["sequence"], line["timestampMs"], line["message"]] = line

        return self.take(body["lines"], check, keep)

    def do_ingest_traces(self, body, *_):
        def check(span):
            names = "projectId runId traceId spanId parentSpanId name kind startNs endNs status attrsJson events model"
            wanted(set(span) == {*names.split(), "genAiSystem", "tokensIn", "tokensOut", "costUsd"}, "fields of a span")
            return re.fullmatch("[0-9a-f]{32}", span["traceId"]) and span["kind"] in KINDS and int(span["startNs"])

        def keep(span):
            self.spans[span["traceId"], span["spanId"]] = span

        return self.take(body["spans"], check, keep)

    def do_evals_suites(self, body, *_):
        wanted({"name", "version", "artifactRef"} <= set(body["dataset"]) and body["scorers"], "dataset or scorers")
        suite_id = f"suite_{body['name']}"
        self.suites[suite_id] = body | {"suiteId": suite_id}
        return {"suite": self.suites[suite_id]}

    def do_evals_runs(self, body, *_):
        if body["evalRunId"] in self.evals:
            raise Refused(409, "CONFLICT", "that eval run exists")
        self.evals[body["evalRunId"]] = body
        return {"evalRun": {"evalRunId": body["evalRunId"], "runId": body["runId"]}}

    def do_evals_results(self, body, *_):
        def check(row):
            names = {"evalRunId", "exampleId", "scorer", "score", "passed", "traceId", "evidenceRef", "meta"}
            shown = row["traceId"] is not None or row["evidenceRef"] is not None
            return set(row) == names and isinstance(row["passed"], bool) and shown

        def keep(row):
            self.results[row["evalRunId"], row["exampleId"], row["scorer"]] = row

        return self.take(body["rows"], check, keep)

    # -- files -------------------------------------------------------------------------------------------------------

    def do_artifacts_initiate(self, body, *_):
        if self.run(body["runId"])["status"] in ENDED and not self.files_for_ended_runs:
            raise Refused(409, "CONFLICT", "the run has ended")
        upload_id = f"upl_{len(self.uploads)}"
        files = []
        for number, file in enumerate(body["files"]):
            wanted(set(file) <= {"path", "sizeBytes", "sha256", "contentType"}, "fields of a file")
            url = f"{self.url}/put/{upload_id}/{number}"
            if file["sizeBytes"] <= 2 * PART:
                files.append({"path": file["path"], "uploadStrategy": "single", "url": f"{url}/0"})
                continue
            starts = range(0, file["sizeBytes"], PART)
            parts = [
                {"partNumber": n + 1, "offsetBytes": start, "sizeBytes": min(PART, file["sizeBytes"] - start),
                 "url": f"{url}/{n + 1}"}
                for n, start in enumerate(starts)
            ]  # fmt: skip
            files.append({"path": file["path"], "uploadStrategy": "multipart", "parts": parts})
        self.uploads[upload_id] = body
        return {"artifactId": f"art_{upload_id}", "uploadId": upload_id, "files": files}

    def put(self, path, data):
        _, _, upload_id, number, part = path.split("/")
        place = self.folder / f"{upload_id}-{number}-{part}"
        place.write_bytes(data)
        return f'"{hashlib.md5(data).hexdigest()}"'

    def do_artifacts_finalize(self, body, *_):
        upload_id = body["uploadId"]
        known = next((made for made in self.artifacts if made["uploadId"] == upload_id), None)
        if known is not None:
            return {"artifact": known, "deduped": True}
        asked = self.uploads[upload_id]
        etags = {entry["path"]: entry["parts"] for entry in body.get("multipartParts", [])}
        for number, file in enumerate(asked["files"]):
            parts = etags.get(file["path"], [{"partNumber": 0, "etag": None}])
            places = [self.folder / f"{upload_id}-{number}-{part['partNumber']}" for part in parts]
            wanted(all(place.exists() for place in places), "a part is missing")
            data = b"".join(place.read_bytes() for place in places)
            marks = [f'"{hashlib.md5(place.read_bytes()).hexdigest()}"' for place in places]
            wanted(all(p["etag"] in (None, mark) for p, mark in zip(parts, marks)), "an etag is not the part's")
            wanted(hashlib.sha256(data).hexdigest() == file["sha256"], "the hash is another")
        version = 1 + sum(made["name"] == asked["name"] for made in self.artifacts)
        made = {**asked, "artifactId": body["artifactId"], "uploadId": upload_id, "version": version}
        self.artifacts.append(made)
        return {"artifact": made}

    def do_artifacts_use(self, body, *_):
        self.run(body["runId"])
        name = body["artifactRef"].partition(":")[0]
        made = [artifact for artifact in self.artifacts if artifact["name"] == name]
        if not made or not body["projectId"]:
            raise Refused(404, "NOT_FOUND", f"no artifact {name}")
        return {"artifact": {**made[-1], "files": [{"path": file["path"]} for file in made[-1]["files"]]}}

    def do_artifacts_download(self, body, *_):
        [made] = [artifact for artifact in self.artifacts if artifact["artifactId"] == body["artifactId"]]
        wanted(made["runId"] == body["runId"], "the artifact is of another run")
        number = [file["path"] for file in made["files"]].index(body["path"])
        return {"url": f"{self.url}/get/{made['uploadId']}/{number}"}

    def get(self, path):
        _, _, upload_id, number = path.split("/")
        places = sorted(self.folder.glob(f"{upload_id}-{number}-*"), key=lambda place: int(place.name.split("-")[2]))
        return b"".join(place.read_bytes() for place in places)

    def do_ingest_media(self, body, *_):
        for item in body["items"]:
            wanted(item["mediaType"] in ("image", "table"), "mediaType")
            wanted(any(made["artifactId"] == item["artifactId"] for made in self.artifacts), "no such artifact")
            self.media.append(item)
        return {"accepted": len(body["items"])}

    def do_query_series(self, body, *_):
        series = []
        for key in body["metricKeys"]:
            points = [{"step": step, "value": value} for step, value in self.series(body["runId"], key)]
            series.append({"metricKey": key, "points": points[-body["maxPointsPerSeries"] :]})
        return {"runId": body["runId"], "series": series}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_any(self):
        url = urlsplit(self.path)
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.command == "PUT":
            return self.reply(200, {}, etag=self.server.put(url.path, data))
        if url.path.startswith("/get/"):
            return self.reply(200, self.server.get(url.path))
        self.server.calls.append(f"{self.command} {url.path}")
        try:
            if url.path.startswith("/api/") and self.headers.get("authorization") != f"Bearer {KEY}":
                raise Refused(401, "UNAUTHORIZED", "the key is not known")
            if self.headers.get("content-encoding") == "gzip":
                data = gzip.decompress(data)
            found = self.server.fault(self.command, url.path, data)
            if found is not None:
                return self.reply(*found)
            known = url.path.removeprefix("/api/v1/") != "ingest/records"
            body = json.loads(data) if data and known else {}
            document = self.server.answer(self.command, url.path, body, parse_qs(url.query))
        except Refused as refused:
            return self.reply(refused.status, refused.document)
        except (KeyError, TypeError, ValueError) as error:
            return self.reply(400, {"error": {"code": "INVALID_REQUEST", "message": repr(error)}})
        return self.reply(202 if "/ingest/" in url.path else 200, document)

    do_GET = do_POST = do_PUT = handle_any

    def reply(self, status, document, headers=None, etag=None):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "text/html" if isinstance(document, bytes) else "application/json")
        self.send_header("content-length", str(len(data)))
        for name, value in {**(headers or {}), **({"etag": etag} if etag else {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    with OlderServer(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0) as running:
        print(running.url, flush=True)
        sys.stdin.read()
