"""`rundial auth`, `agent`, `audit`: keys in and out, and what they may do."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from rundial import config
from tests.cli.conftest import rundial
from tests.flows.conftest import ServerProcess

RING = '''
"""A keyring in a file."""
import json
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

PLACE = Path(__file__).with_name("ring.json")


class Keyring(KeyringBackend):
    priority = 9

    def _read(self):
        return json.loads(PLACE.read_text()) if PLACE.exists() else {}

    def get_password(self, service, username):
        return self._read().get(f"{service} {username}")

    def set_password(self, service, username, password):
        PLACE.write_text(json.dumps(self._read() | {f"{service} {username}": password}))

    def delete_password(self, service, username):
        known = self._read()
        if known.pop(f"{service} {username}", None) is None:
            raise PasswordDeleteError
        PLACE.write_text(json.dumps(known))
'''


def test_login_leads_scripts_too(server: ServerProcess) -> None:
    """The key is tried, kept in a private file, used by a script that says nothing, and forgotten."""
    login = rundial("auth", "login", "--api-key", "-", "--endpoint", server.url + "/", "--json", stdin=server.key).json
    assert (login["authMode"], login["endpoint"], login["store"]) == ("api_key", server.url, "file")
    assert stat.S_IMODE(config.config_path().stat().st_mode) == 0o600
    assert rundial("auth", "whoami", "--json").json["endpoint"] == server.url
    script = "import rundial as rd; run = rd.init(project='cli-login', quiet=True); run.log({'a': 1}); run.finish()"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert len(server.runs("cli-login")) == 1

    assert rundial("auth", "logout").out == "Signed out.\n"

    assert server.key not in config.config_path().read_text()
    assert "auth login" in rundial("auth", "whoami", code=2).err


def test_a_key_that_is_refused_is_not_kept(server: ServerProcess) -> None:
    """Exit code 2, and nothing is written."""
    rundial("auth", "login", "--api-key", "rdk_wrong", "--endpoint", server.url, code=2)
    rundial("auth", "login", "--endpoint", server.url, code=1)
    assert "--endpoint" in rundial("auth", "login", "--api-key", server.key, code=1).err  # not tried on our own server
    assert not config.config_path().exists()


def test_the_keyring_has_it_where_there_is_one(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file names the secret and does not hold it; commands and scripts find it; logging out removes it."""
    pytest.importorskip("keyring")
    (tmp_path / "file_ring.py").write_text(RING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "file_ring.Keyring")

    login = rundial("auth", "login", "--api-key", server.key, "--endpoint", server.url, "--json").json

    assert login["store"] == "keyring"
    assert server.key not in config.config_path().read_text()
    assert server.key in (tmp_path / "ring.json").read_text()
    assert rundial("auth", "whoami", "--json").json["whoami"]["authenticated"] is True
    script = "import rundial as rd; run = rd.init(project='cli-ring', quiet=True); run.log({'a': 1}); run.finish()"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert len(server.runs("cli-ring")) == 1
    rundial("auth", "logout")
    assert server.key not in (tmp_path / "ring.json").read_text()
    plainly = ("auth", "login", "--api-key", server.key, "--endpoint", server.url, "--allow-plaintext-store", "--json")
    assert rundial(*plainly).json["store"] == "file"


def test_keys_of_a_project(configured: ServerProcess) -> None:
    """A key is made, does what its scopes say and no more, and is worth nothing once it is revoked."""
    here = ("--project", "default-project")
    made = rundial("auth", "key", "create", *here, "--scope", "query:read", "--label", "look", "--expires-in", "1d").out
    key = made.splitlines()[0]
    assert key.startswith("rdk_")

    assert rundial("run", "list", "--json", RUNDIAL_API_KEY=key).json["ok"] is True
    rundial("run", "start", *here, RUNDIAL_API_KEY=key, code=2)
    (listed,) = [it for it in rundial("auth", "key", "list", *here, "--json").json["keys"] if it["label"] == "look"]
    assert listed["scopes"] == ["project:read"]
    assert "look" in rundial("auth", "key", "list", *here).out
    rundial("auth", "key", "revoke", "--key-id", listed["keyId"], *here)
    rundial("run", "list", RUNDIAL_API_KEY=key, code=2)
    assert "30d" in rundial("auth", "key", "create", *here, "--expires-in", "soon", code=1).err


def test_agents_and_the_audit(configured: ServerProcess) -> None:
    """An agent gets a key, works with it, and is revoked with it; all of that is on record."""
    here = ("--project", "default-project")
    agent = rundial("agent", "create", "--name", "sweeper", "--json").json["result"]
    agent_id = agent.get("agent", agent)["agentId"]
    assert agent_id.startswith("agt_")
    key = rundial("agent", "key", "create", "--agent", "sweeper", *here).out.splitlines()[0]
    assert rundial("run", "start", *here, "--json", RUNDIAL_API_KEY=key).json["ok"] is True
    assert len(rundial("agent", "key", "list", "--agent", agent_id, "--json").json["keys"]) == 1
    assert "sweeper" in rundial("auth", "agent", "list", "--status", "active").out

    rundial("agent", "revoke", "--agent", "sweeper")

    rundial("run", "list", RUNDIAL_API_KEY=key, code=2)
    assert "no agent is called" in rundial("agent", "key", "list", "--agent", "sweeper", code=1).err
    events = rundial("audit", "list", "--json").json["events"]
    assert agent_id in {event["targetId"] for event in events}
    assert agent_id in rundial("auth", "audit", "list", "--limit", "50").out


def test_a_password_opens_a_session_for_commands(server: ServerProcess) -> None:
    """The session is kept in the place of a key, changes things, and is worth nothing once one has signed out."""
    users = f"{server.url}/api/v1/workspaces/default-workspace/users"
    person = {"email": "cli@example.org", "role": "owner", "password": "a long enough phrase"}
    made = requests.post(users, json=person, headers={"authorization": f"Bearer {server.key}"}, timeout=20)
    assert made.status_code == 200, made.text
    login = ("auth", "login", "--credentials", "--email", "cli@example.org", "--endpoint", server.url)

    assert "Signed out" not in rundial(*login, code=2, RUNDIAL_PASSWORD="wrong").err
    assert "RUNDIAL_PASSWORD" in rundial(*login, code=1).err
    assert "--email" in rundial("auth", "login", "--credentials", "--endpoint", server.url, code=1).err
    assert not config.config_path().exists()
    done = rundial(*login, "--json", RUNDIAL_PASSWORD=person["password"]).json

    assert (done["authMode"], done["whoami"]["principal"], done["store"]) == ("credentials", "user", "file")
    assert stat.S_IMODE(config.config_path().stat().st_mode) == 0o600
    token = re.search(r'session_token = "(.+)"', config.config_path().read_text())
    assert token is not None and person["password"] not in config.config_path().read_text()
    assert rundial("run", "start", "--name", "by a person", "--json").json["ok"] is True
    rundial("auth", "logout")
    assert token[1] not in config.config_path().read_text()
    rundial("auth", "whoami", code=2, RUNDIAL_SESSION_TOKEN=token[1], RUNDIAL_ENDPOINT=server.url)
