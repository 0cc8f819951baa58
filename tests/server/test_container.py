"""The Dockerfile and the compose file: what can be held without Docker. No image was built by these tests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import typer.main
import yaml

from rundial.cli import app
from tests.server.command import RUNDIAL

ROOT = Path(__file__).parent.parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile with what follows it, continued lines joined."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for name, rest in instructions():
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest))
    return found


def last(name: str) -> str:
    """The only instruction of that name in the stage that becomes the image."""
    found = [rest for instruction, rest in stages()[-1] if instruction == name]
    assert len(found) == 1, name
    return found[0]


def server_options() -> set[str]:
    command: Any = typer.main.get_command(app)
    return {flag for option in command.commands["server"].params for flag in option.opts}


def test_the_image_is_small_and_named_by_version() -> None:
    """Slim bases with a version; nothing that was fetched to build it stays; nothing is added from elsewhere."""
    for name, rest in instructions():
        if name == "FROM":
            assert re.match(r"[a-z]+:[\d.]+-slim\b", rest)
        assert name != "ADD"
        if "apt-get install" in rest:
            assert "--no-install-recommends" in rest and "rm -rf /var/lib/apt/lists/*" in rest
            assert "apt-get update" in rest
        if "pip " in rest:
            assert "--no-cache-dir" in rest
        assert "sudo" not in rest and "curl" not in rest
    assert not [rest for name, rest in stages()[-1] if name == "RUN" and "npm" in rest]


def test_the_image_runs_as_nobody_in_particular() -> None:
    """A number, so that Kubernetes can tell it is not root; last before what it starts; the data is a volume."""
    names = [name for name, _ in stages()[-1]]

    assert int(last("USER")) > 1000
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in ("RUN", "COPY"))
    assert last("VOLUME") == "/data" and "/data" in last("ENV")
    assert last("STOPSIGNAL") == "SIGTERM"


def test_no_secret_is_in_either_file() -> None:
    """Passwords come from the environment of who starts it."""
    assert not re.search(r"(?i)(ENV|ARG)[^\n]*(password|secret|token|key)", (ROOT / "Dockerfile").read_text())
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|KEY", name):
                assert re.fullmatch(r"\$\{[A-Z_0-9]+:(-|\?[^}]*)\}", value), name


def test_everything_that_is_copied_is_let_in() -> None:
    """`.dockerignore` leaves out all but what it names."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source.split("/")[0]
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }

    assert copied == allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_the_image_starts_and_is_healthy(tmp_path: Path) -> None:
    """Its entry point, command and health check as they stand, with another folder and port."""
    command = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]
    health = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    arguments = [part.replace("/data", str(tmp_path)) for part in command[2:]]
    assert command[:2] == ["rundial", "server"]
    process = subprocess.Popen(
        [*RUNDIAL, "server", *arguments, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip().rpartition(":")[2]
        check = [sys.executable, *(part.replace("8787", port) for part in health[1:])]
        assert health[0] == "python"
        assert subprocess.run(check, timeout=30, check=False).returncode == 0
        process.terminate()
        assert process.wait(10) == 0
        assert subprocess.run(check, timeout=30, check=False, stderr=subprocess.DEVNULL).returncode != 0
    finally:
        process.kill()
        process.communicate()


def test_compose_starts_the_server_with_options_it_has() -> None:
    """Each flag is one of `rundial server`, each variable one that it reads."""
    service = COMPOSE["services"]["rundial"]
    flags = {part.partition("=")[0] for part in service["command"]}
    known = {
        name
        for path in (ROOT / "rundial").rglob("*.py")
        for name in re.findall(r"\bRUNDIAL_[A-Z_]+", path.read_text(encoding="utf-8"))
    }

    assert flags <= server_options()
    assert {name for name in service["environment"] if name.startswith("RUNDIAL_")} <= known
    assert {"--database", "--workers", "--data", "--host"} <= flags


def test_compose_keeps_data_and_keeps_to_itself() -> None:
    """Named volumes, ports of this machine alone, a server that can write nowhere else and gets time to stop."""
    services = COMPOSE["services"]
    for name, service in services.items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in COMPOSE["volumes"], name
        assert "privileged" not in service and service["restart"] == "unless-stopped"
    server = services["rundial"]
    assert server["read_only"] is True and server["cap_drop"] == ["ALL"]
    assert server["security_opt"] == ["no-new-privileges:true"]
    assert int(server["stop_grace_period"].removesuffix("s")) > 10
    assert server["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert "healthcheck" in services["postgres"]
    assert services["minio"]["profiles"] == ["s3"]
