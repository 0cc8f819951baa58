"""`rundial server` and `rundial ui` as a person runs them."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from rundial import config
from rundial.cli.server import announce, answers, withdraw

COMMAND = [sys.executable, "-m", "rundial"]


def rundial(*arguments):
    """A command that ends by itself."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)


@contextmanager
def running(*arguments):
    """`rundial server` on a free port: its process and its address."""
    process = subprocess.Popen([*COMMAND, "server", "--port", "0", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip().rpartition(" ")[2]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_server_announces_itself_and_takes_it_back(number):
    """`server.json` is there while it runs, readable by its owner alone; a signal ends it with exit code 0."""
    with running() as (process, url):
        path = config.server_file()
        document = json.loads(path.read_text())
        mode = stat.S_IMODE(path.stat().st_mode)
        found = config.local_server()

        process.send_signal(number)

        assert process.wait(10) == 0
    assert (found.url, found.pid, mode) == (url, process.pid, 0o600)
    assert set(document) == {"url", "apiKey", "host", "pid", "version"}
    assert not path.exists()


def test_it_stops_with_a_stream_open():
    """Nobody has to close the page first."""
    with running() as (process, url):
        key = config.local_server().api_key
        headers = {"authorization": f"Bearer {key}"}
        stream = f"{url}/api/v1/stream?projectId=default-project"
        with requests.get(stream, headers=headers, stream=True, timeout=10) as answer:
            assert answer.status_code == 200
            process.terminate()

            assert process.wait(10) == 0


def test_a_second_server_leaves_the_announcement_of_the_first(tmp_path):
    """The data of this machine's runs keeps going to where it went."""
    with running() as (_, first), running("--data", str(tmp_path / "other")) as (second, url):
        assert config.local_server().url == first != url
        second.terminate()
        second.wait(10)
        assert config.local_server().url == first


def test_a_port_in_use_is_one_clear_sentence():
    """No traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = rundial("server", "--port", str(taken.getsockname()[1]))

    assert result.returncode == 1
    assert result.stderr.startswith("error: port ")
    assert "--port" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_folder_that_another_server_holds_is_one_clear_sentence():
    """Two servers on one store would harm it."""
    with running():
        result = rundial("server", "--port", "0")

    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_an_open_address_is_served_with_a_warning():
    """Plain HTTP carries keys."""
    with running("--host", "0.0.0.0") as (process, url):
        assert url.startswith("http://127.0.0.1:")
        lines = [process.stdout.readline() for _ in range(3)]

    assert "unencrypted" in lines[1]
    assert "--allowed-host" in lines[2]


def test_ui_starts_a_server_once_and_stops_it():
    """The second call uses the first one's server; each gives a login link of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    try:
        first, second = rundial("ui", "--no-browser", "--port", port), rundial("ui", "--no-browser")
        found = config.local_server()
        links = [result.stdout.split()[3] for result in (first, second)]
        token = links[0].rpartition("/")[2]
        login = requests.post(f"{found.url}/api/v1/auth/login/link", json={"token": token}, timeout=10)
    finally:
        stopped = rundial("ui", "--stop")

    assert [link.rpartition("/")[0] for link in links] == [f"http://127.0.0.1:{port}/#/login"] * 2
    assert links[0] != links[1]
    assert login.status_code == 200
    assert stopped.stdout == "The server has stopped.\n"
    assert not answers(found)
    assert rundial("ui", "--stop").stdout == "No server is running.\n"


def test_ui_shows_the_log_of_a_server_that_did_not_start():
    """The reason, not only that it failed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = rundial("ui", "--no-browser", "--port", str(taken.getsockname()[1]))

    assert result.returncode == 1
    assert "is in use" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_announcement_of_another_process_is_not_withdrawn():
    """A server that stops late must not hide its successor."""
    announce("http://127.0.0.1:1", "rdk_x")
    path = config.server_file()
    document = json.loads(path.read_text()) | {"pid": os.getpid() + 1}
    path.write_text(json.dumps(document))

    withdraw("http://127.0.0.1:1")

    assert path.exists()
    assert [found.name for found in path.parent.iterdir()] == ["server.json"]


def test_the_version_and_the_help_come_quickly_and_alone():
    """Neither loads the server."""
    version = rundial("--version")
    code = "import sys, rundial.cli; print({'numpy', 'starlette', 'uvicorn', 'requests'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert version.stdout.startswith("rundial ")
    assert loaded.stdout == "set()\n"
    assert "server" in rundial().stdout


def test_a_home_that_cannot_be_written_is_one_clear_sentence(tmp_path, monkeypatch):
    """It says which variable leads elsewhere."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("RUNDIAL_HOME", str(blocked / "home"))

    result = rundial("server", "--port", "0")

    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert not Path(blocked / "home").exists()
