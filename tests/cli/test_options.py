"""What holds for all commands: options before and behind them, exit codes, errors, settings."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from rundial import config
from tests.cli.conftest import COMMAND, rundial
from tests.flows.conftest import ServerProcess
from tests.flows.proxy import Answer, Exchange, Proxy


@pytest.mark.parametrize("words", ["--json run list", "run --json list", "run list --json"])
def test_json_stands_anywhere(configured: ServerProcess, words: str) -> None:
    """Before the command, inside it and behind it."""
    assert rundial(*words.split()).json["ok"] is True


@pytest.mark.parametrize("place", ["before", "behind"])
def test_endpoint_and_quiet_stand_anywhere(server: ServerProcess, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """A quiet command prints nothing when all is well."""
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    shared = ["--endpoint", server.url, "--quiet"]
    words = [*shared, "workspace", "ls"] if place == "before" else ["workspace", "ls", *shared]

    assert rundial(*words).out == ""


def test_exit_codes(configured: ServerProcess) -> None:
    """1 for a mistake, for what is not there and for no answer; 2 for a key that is refused."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    rundial("run", "lits", code=1)
    rundial("run", "status", code=1)
    rundial("run", "list", "--limit", "many", code=1)
    rundial("run", "status", "run_unknown", code=1)
    rundial("run", "list", RUNDIAL_ENDPOINT=nobody, code=1)
    for words in (
        "auth whoami",
        "run list",
        "run start",
        "metrics tail run_1",
        "evals diff a b",
        "doctor",
        "auth login",
    ):
        rundial(*words.split(), RUNDIAL_API_KEY="rdk_wrong", code=2)


def test_a_server_of_an_older_build_is_said_to_be_one() -> None:
    """Where the route that finds a project by its name is missing, nothing else would help."""

    def answer(exchange: Exchange) -> None:
        exchange.reply(Answer(404, {"content-type": "application/json"}, b'{"detail": "Not Found"}'))

    with Proxy(1) as older:
        older.switch(answer)
        failed = rundial("run", "start", code=1, RUNDIAL_ENDPOINT=older.url, RUNDIAL_API_KEY="rdk_1")

    assert "older build" in failed.err and "Update it" in failed.err


def test_an_error_is_json_for_programs(configured: ServerProcess) -> None:
    """On the error stream, with the exit code; nothing on the other."""
    failed = rundial("run", "status", "run_unknown", "--json", code=1)

    assert failed.out == ""
    error = json.loads(failed.err)
    assert (error["ok"], error["error"]["exitCode"]) == (False, 1)
    assert "NOT_FOUND" in error["error"]["message"]


def test_a_closed_pipe_is_no_error() -> None:
    """`rundial --help | head -1` ends well, although Rich takes the closed pipe for an error."""
    with subprocess.Popen([*COMMAND, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()

        assert (process.wait(30), process.stderr.read()) == (0, "")


def test_wrong_usage_is_said_in_one_line() -> None:
    """What cannot be chosen comes with what can."""
    said = rundial("run", "list", "--order-by", "nope", code=1).err
    assert said.startswith("error: Invalid value for '--order-by': 'nope' is not one of") and said.count("\n") == 1
    assert rundial("completion", code=1).err.count("\n") == 1


def test_names_that_the_terminal_has_no_letters_for(configured: ServerProcess) -> None:
    """They are shown as well as can be; JSON has them whole."""
    rundial("run", "start", "--project", "letters", "--name", "ünï 🎉")
    words = ("run", "list", "--project", "letters")

    assert "?n? ?" in rundial(*words, PYTHONIOENCODING="ascii").out
    assert rundial(*words, "--json", PYTHONIOENCODING="ascii").json["result"]["runs"][0]["runName"] == "ünï 🎉"


def test_a_home_that_cannot_be_made_is_named() -> None:
    """Nobody has to guess which folder it is."""
    assert "Set RUNDIAL_HOME" in rundial("run", "list", code=1, RUNDIAL_HOME="/proc/nowhere").err


def test_a_group_alone_shows_its_help() -> None:
    """And ends well."""
    assert "finish" in rundial("run").out
    assert "artifact" in rundial().out


def test_flag_over_environment_over_file_over_default(configured: ServerProcess) -> None:
    """The project of a command, from each of the four."""

    def project(**environment: str) -> object:
        return rundial("config", "show", "--json", **environment).json["resolved"]["project"]

    assert project() == "default-project"
    rundial("config", "set", "project", "cli-file")
    assert project() == "cli-file"
    assert project(RUNDIAL_PROJECT="cli-env") == "cli-env"
    failed = rundial("run", "list", "--project", "cli-flag", code=1, RUNDIAL_PROJECT="default-project")
    assert "no project 'cli-flag'" in failed.err


def test_the_file_keeps_its_comments_and_is_private() -> None:
    """What a person wrote stays; others cannot read it; a link to it stays one."""
    real = Path("dotfiles.toml")
    real.write_text('# mine\nquiet = true  # at night\n[profiles.default]\nproject = "a"\n')
    config.config_path().symlink_to(real.resolve())

    rundial("config", "set", "project", "b")
    rundial("config", "set", "gzip_min_bytes", "4096", "--top")

    text = real.read_text()
    assert "# mine\nquiet = true  # at night\n" in text
    assert 'project = "b"' in text
    assert "gzip_min_bytes = 4096" in text.split("[profiles")[0]
    assert config.config_path().is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    rundial("config", "unset", "project")
    assert "project" not in real.read_text()


def test_a_file_that_is_no_toml_is_an_error_and_left_alone() -> None:
    """Nothing is reset behind anybody's back."""
    config.config_path().write_text("profiles = [broken")

    assert "not valid TOML" in rundial("config", "set", "project", "b", code=1).err
    assert config.config_path().read_text() == "profiles = [broken"


def test_a_setting_that_cannot_be_is_refused() -> None:
    """Unknown options, values of the wrong kind and keys."""
    rundial("config", "set", "projekt", "b", code=1)
    rundial("config", "set", "gzip_min_bytes", "many", code=1)
    rundial("config", "set", "api_key", "rdk_1", code=1)
    assert not config.config_path().exists()


def test_profiles(server: ServerProcess) -> None:
    """A profile is made, chosen for one command or for all, and removed; a mistyped one is an error."""
    rundial("profile", "create", "cluster", "--endpoint", server.url)
    rundial("profile", "create", "laptop", "--no-activate")
    listed = rundial("profile", "ls", "--json").json
    assert (listed["activeProfile"], [it["name"] for it in listed["profiles"]]) == ("cluster", ["cluster", "laptop"])
    rundial("auth", "login", "--api-key", "-", stdin=server.key)
    assert rundial("workspace", "ls", "--json").json["workspaces"]
    shown = rundial("--profile", "laptop", "config", "show", "--json").json
    assert (shown["profile"], shown["resolved"]["endpoint"]) == ("laptop", None)
    assert "no [profiles.clutser]" in rundial("run", "list", "--profile", "clutser", code=1).err
    rundial("profile", "use", "laptop")
    assert rundial("config", "show", "--json").json["profile"] == "laptop"
    rundial("profile", "delete", "laptop")
    rundial("profile", "use", "laptop", code=1)
    rundial("profile", "create", "../x", code=1)


def test_without_an_endpoint_the_local_store_is_read() -> None:
    """The local server is started for the command and stopped after it."""
    listed = rundial("project", "ls", "--json").json

    assert [project["projectSlug"] for project in listed["projects"]] == ["default-project"]
    assert config.local_server() is None
    assert rundial("config", "show", "--json").json["local server"] == "not running"


def test_doctor_names_what_is_wrong(configured: ServerProcess) -> None:
    """Exit code 0 only when every check is well; the report comes either way."""
    assert rundial("doctor", "--offline", "--json").json["checks"]
    config.config_path().write_text('project = "a"\n')
    config.config_path().chmod(0o644)

    report = rundial("doctor", "--offline", "--json", code=1)

    bad = [check["name"] for check in report.json["checks"] if not check["ok"]]
    assert bad == ["secret_store"]
    assert "chmod 600" in report.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    """The script of each shell asks the command itself."""
    assert "_RUNDIAL_COMPLETE" in rundial("completion", shell).out


def test_completion_completes() -> None:
    """What bash asks when somebody types `rundial run st` and the tabulator."""
    words = {"_RUNDIAL_COMPLETE": "complete_bash", "COMP_WORDS": "rundial run st", "COMP_CWORD": "2"}

    assert rundial(**words).out.split() == ["start", "status"]
