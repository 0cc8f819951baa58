"""The shell commands of the pages about the HTTP interface run as they stand, against a fresh server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(("page", "shows"), [("wire.md", '"status":"completed"'), ("accounts.md", '"user.create"')])
def test_commands_run(page: str, shows: str, tmp_path: Path) -> None:
    """Typed one after another, none fails, and the last answers what the page says."""
    home = {**os.environ, "RUNDIAL_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "rundial", "server", "--port", "0"]
    with subprocess.Popen(command, env=home, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline(), server.stdout.readline()
            found = json.loads((tmp_path / "server.json").read_text())
            script = "set -e\n" + "\n".join(BLOCK.findall((ROOT / "docs" / page).read_text()))
            own = {**os.environ, "RUNDIAL_ENDPOINT": found["url"], "RUNDIAL_API_KEY": found["apiKey"]}
            result = subprocess.run(["sh", "-c", script], env=own, capture_output=True, text=True, timeout=60)
        finally:
            server.terminate()

    assert result.returncode == 0, result.stderr
    assert shows in result.stdout.splitlines()[-1]
