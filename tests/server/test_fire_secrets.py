"""Secrets, searched for in everything that a server writes: its log, its database, its folder, errors and exports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from rundial.server.app import RULES, STATIC
from tests.server.fire import Target, serving_process
from tests.server.test_hostile import address
from tests.server.uploader import initiate, put_missing, upload

TRAINING = """
import rundial as rd
secret = "canary-of-the-config"
run = rd.init(project="secrets", run_id="run_secret", config={
    "api_key": secret, "lr": 0.1, "nested": {"hf_token": secret, "list": [{"password": secret}]},
})
with run.trace("step", attrs={"openai_api_key": secret}):
    run.log({"loss": 0.5})
run.finish()
"""


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest) -> str | None:
    """The address of a database, with a password in it that nobody asks for; or None."""
    if request.param == "sqlite":
        return None
    url: str = request.getfixturevalue("cluster").database()
    return url.replace("rundial@", "rundial:canary-of-the-database@")


class Story:
    """What happened to a server, with the secrets that were used and the answers that were errors."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {"of the database": "canary-of-the-database", "of the config": "canary-of-the-"}
        self.errors: list[str] = []

    def ask(self, method: str, url: str, **options: Any) -> requests.Response:
        """A request whose answer is kept when it is an error."""
        answer = requests.request(method, url, timeout=20, **options)
        assert answer.status_code < 500
        if answer.status_code >= 400:
            self.errors.append(answer.text + str(answer.headers))
        return answer


@pytest.fixture(scope="module")
def story(place: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Story, Path]]:
    """Everything that takes or gives a secret, done once on a server that logs all it can; then the server ends."""
    folder, told = tmp_path_factory.mktemp("secrets"), Story()
    with serving_process(folder, place, "--log-level", "debug") as server:
        use(told, server)
        train(server, folder)
        export(server, folder)
    yield told, folder


def use(told: Story, server: Target) -> None:
    """Keys, links, sessions, passwords and signed addresses: right ones, and wrong ones in every place."""
    secrets = told.secrets
    secrets["owner's key"] = server.key
    workspace = "/api/v1/workspaces/default-workspace"
    made = server.post(f"{workspace}/projects/default-project/api-keys", json={"scopes": ["project:read"]}).json()
    secrets["key of a project"] = made["apiKey"]
    assert told.ask("GET", f"{server.url}/api/v1/workspaces", headers=bearer(made["apiKey"])).status_code == 200
    agent = server.post(f"{workspace}/agents", json={"name": "bot"}).json()
    keys = f"{workspace}/agents/{agent['agentId']}/api-keys"
    secrets["key of an agent"] = server.post(keys, json={"projectSlug": "default-project"}).json()["apiKey"]
    secrets["key of a workspace"] = server.post("/api/v1/workspaces", json={"slug": "other"}).json()["apiKey"]
    secrets["link"] = server.post("/api/v1/auth/links").json()["token"]
    secrets["unused link"] = server.post("/api/v1/auth/links").json()["token"]
    invited = server.post(f"{workspace}/users", json={"email": "ann@example.org", "name": "Ann"}).json()
    secrets["invitation"] = invited["token"]
    for name in ("link", "invitation"):
        answer = told.ask("POST", f"{server.url}/api/v1/auth/login/link", json={"token": secrets[name]})
        secrets[f"session of the {name}"] = answer.cookies["rd_session"]
        told.ask("POST", f"{server.url}/api/v1/auth/login/link", json={"token": secrets[name]})  # good but once
    page = {"origin": server.url, "cookie": f"rd_session={secrets['session of the invitation']}"}
    secrets["password"] = "a phrase that nobody may read"
    changed = {"password": secrets["password"]}
    assert told.ask("POST", f"{server.url}/api/v1/auth/password", headers=page, json=changed).status_code == 200
    secrets["wrong password"] = "a phrase that is not the one"
    for name in ("password", "wrong password"):
        body = {"email": "ann@example.org", "password": secrets[name]}
        answer = told.ask("POST", f"{server.url}/api/v1/auth/login/credentials", json=body)
        assert answer.status_code == (200 if name == "password" else 401)
    signed(told, server)
    guesses(told, server)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def signed(told: Story, server: Target) -> None:
    """Addresses that carry a signature: one that is used, one that is altered."""
    run = {"projectId": "default-project", "runId": "run_files"}
    assert server.post("/api/v1/runs/start", json=run).status_code == 200
    begun = initiate(server, "run_files", {"a": b"content"})
    put_missing(begun, {"a": b"content"})
    artifact = upload(server, "run_files", {"b": b"more"})["artifact"]
    got = server.post("/api/v1/artifacts/download", json={"artifactId": artifact["artifactId"], "path": "b"}).json()
    for name, url in (("upload", begun["files"][0]["url"]), ("download", got["url"])):
        told.secrets[f"signature of the {name}"] = max(url.replace("?", "&").split("&")[1:], key=len).partition("=")[2]
        told.ask("GET", url + "0")
        told.ask("PUT", url + "0", data=b"x")
    assert told.ask("GET", got["url"]).content == b"more"


def guesses(told: Story, server: Target) -> None:
    """A secret where none belongs, on every route: in headers, in the query, in the path, in a body."""
    canary = told.secrets["guess"] = "rdk_canary-of-a-guess"
    with requests.Session() as session:
        for rule in RULES:
            at = server.url + address(rule.route.path)
            if rule.route.path in ("/api/v1/stream", "/", "/health/live", "/health/ready"):
                continue
            for method in sorted((rule.route.methods or set()) - {"HEAD"}):
                for headers, query, body in (
                    (bearer(canary), "", None),
                    ({"cookie": f"rd_session={canary}", "x-api-key": canary}, f"?api_key={canary}", None),
                    (bearer(server.key), f"?token={canary}", {"apiKey": canary, canary: [canary], "runId": 7}),
                    (bearer(server.key), "", f'{{"password": "{canary}", '),
                ):
                    kind = {"content-type": "application/json"}
                    data = json.dumps(body) if isinstance(body, dict) else body
                    answer = session.request(method, at + query, headers=headers | kind, data=data, timeout=20)
                    assert answer.status_code < 500
                    if answer.status_code >= 400:
                        told.errors.append(answer.text + str(answer.headers))


def train(server: Target, folder: Path) -> None:
    """A run whose config and spans have secrets, logged with the SDK, the key in the environment."""
    done = run_python(server, folder, "-c", TRAINING)
    assert done.returncode == 0, done.stderr


def export(server: Target, folder: Path) -> None:
    """All of it as files, and as a page where that is built."""
    kinds = [["--format", "jsonl", "--out", "tables"], ["--html", "--out", "page.html"]]
    for arguments in kinds if (STATIC / "index.html").exists() else kinds[:1]:
        done = run_python(server, folder, "-m", "rundial", "export", "run_secret", *arguments)
        assert done.returncode == 0, done.stderr


def run_python(server: Target, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    variables = {"RUNDIAL_ENDPOINT": server.url, "RUNDIAL_API_KEY": server.key, "RUNDIAL_HOME": str(home)}
    variables |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=90, check=False
    )


def found_in(secrets: dict[str, str], text: bytes) -> list[str]:
    return [name for name, secret in secrets.items() if secret.encode() in text]


def test_the_log_has_none(story: tuple[Story, Path]) -> None:
    """Nor does it have a failure."""
    told, folder = story
    log = (folder / "server.log").read_bytes()

    assert log and b"Traceback" not in log
    assert found_in(told.secrets, log) == []


def test_the_folder_has_none(story: tuple[Story, Path]) -> None:
    """But for the file that is there to keep the owner's key, which nobody else may read."""
    told, folder = story
    files = [path for path in (folder / "data").rglob("*") if path.is_file()]
    found = {path.name: found_in(told.secrets, path.read_bytes()) for path in files}

    assert found.pop("owner.key") == ["owner's key"]
    assert (folder / "data" / "owner.key").stat().st_mode & 0o077 == 0
    assert {name: secrets for name, secrets in found.items() if secrets} == {}


def test_the_database_has_none(story: tuple[Story, Path], place: str | None) -> None:
    """Every value of every row of every table."""
    told, folder = story
    rows = list(everything(folder, place))

    assert len(rows) > 100
    found = [(table, secrets) for table, text in rows if (secrets := found_in(told.secrets, text))]
    assert found == []


def everything(folder: Path, place: str | None) -> Iterator[tuple[str, bytes]]:
    from rundial.server.store.engine import Engine

    engine = Engine(folder / "data" / "rundial.db" if place is None else place)
    names = "SELECT name FROM sqlite_master WHERE type = 'table'"
    if place is not None:
        names = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    try:
        with engine.read() as db:
            for (table,) in db.execute(names).fetchall():
                for row in db.execute(f"SELECT * FROM {table}").fetchall():
                    for value in row:
                        yield table, bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode()
    finally:
        engine.close()


def test_errors_have_none(story: tuple[Story, Path]) -> None:
    """Bodies and headers of every answer that was one, whatever the request brought along."""
    told, _ = story

    assert len(told.errors) > 200
    assert [(secrets, text) for text in told.errors if (secrets := found_in(told.secrets, text.encode()))] == []


def test_exports_have_none(story: tuple[Story, Path]) -> None:
    """What the config and the spans had was taken out before it left the training process."""
    told, folder = story
    files = [path for path in (folder / "tables").rglob("*") if path.is_file()]
    files += [folder / "page.html"] if (folder / "page.html").exists() else []

    assert len(files) > 2
    assert {path.name: found for path in files if (found := found_in(told.secrets, path.read_bytes()))} == {}
    assert any(b"lr" in path.read_bytes() for path in files)
