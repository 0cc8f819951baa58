"""`make demo`: a server of its own in .demo/, a real training that logs to it, and the address to open.

The server runs until Ctrl-C. With DEMO_SECONDS=20 in the environment the training takes about that long and the demo
then ends by itself. The demo keeps everything in .demo/ and leaves your own Rundial data alone.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(".demo").resolve()
os.environ["RUNDIAL_HOME"] = str(FOLDER / "home")  # before rundial looks
os.environ["RUNDIAL_SPOOL_DIR"] = str(FOLDER / "spool")

import digits  # noqa: E402 - reads the two variables above
import requests  # noqa: E402

import rundial as rd  # noqa: E402
from rundial.config import DEFAULT_PORT, LocalServer, local_server  # noqa: E402

START_SECONDS = 30.0


def free_port() -> int:
    """The usual port, or 0 for any when something listens there already."""
    with socket.socket() as probe:
        return 0 if probe.connect_ex(("127.0.0.1", DEFAULT_PORT)) == 0 else DEFAULT_PORT


def start_server(log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rundial", "server", "--port", str(free_port()), "--data", str(FOLDER / "server")]
    with log.open("wb") as output:
        # a session of its own: Ctrl-C then reaches the demo, which stops the server after the last data
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


def wait_for(process: subprocess.Popen[bytes], log: Path) -> LocalServer:
    """The server once it has announced itself; exits with the end of its log when it does not."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        server = local_server()
        if server is not None and server.pid == process.pid:
            return server
        time.sleep(0.05)
    stop(process)
    sys.exit("demo: the server did not start. The end of its log:\n" + log.read_text(errors="replace")[-2000:])


def login_link(server: LocalServer) -> str:
    """An address that signs a browser in, good once and for five minutes."""
    headers = {"authorization": f"Bearer {server.api_key}"}
    with requests.Session() as session:
        session.trust_env = False  # a proxy from the environment has no business on 127.0.0.1
        reply = session.post(f"{server.url}/api/v1/auth/links", headers=headers, json={}, timeout=10)
    reply.raise_for_status()
    return str(reply.json()["url"])


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def show(server: LocalServer, seconds: float | None) -> None:
    """Train for about ``seconds``; without a limit, keep the server until Ctrl-C."""
    print(f"\n  Open {login_link(server)}\n", flush=True)
    with rd.init(
        project="digits", endpoint=server.url, api_key=server.api_key, config=digits.CONFIG, tags=["demo"]
    ) as run:
        accuracy = digits.train(run, 45.0 if seconds is None else seconds)
    print(f"demo: trained; {accuracy:.1%} of the digits held back are read right", flush=True)
    if seconds is None:
        print(f"demo: the server stays at {server.url} until Ctrl-C. A new way in: {login_link(server)}", flush=True)
        signal.pause()


def main() -> None:
    seconds = float(os.environ["DEMO_SECONDS"]) if os.environ.get("DEMO_SECONDS") else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # through the `finally` below, as Ctrl-C does
    FOLDER.mkdir(exist_ok=True)
    log = FOLDER / "server.log"
    process = start_server(log)
    try:
        show(wait_for(process, log), seconds)
    except KeyboardInterrupt:
        print("\ndemo: stopped. What was logged is in .demo/ and is there again with the next `make demo`.")
    finally:
        stop(process)


if __name__ == "__main__":
    main()
