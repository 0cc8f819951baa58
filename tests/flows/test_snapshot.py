"""Code, patch and environment of a real script reach the server, and come back as they were."""

import io
import subprocess
import time
import zipfile
from pathlib import Path

import requests

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main")


def fetch(server, run_id, name):
    """The versions of an artifact of the run: its first file's bytes, and what the list says of it."""
    deadline = time.monotonic() + 20
    while True:
        rows = [row for row in server.get(f"/api/v1/runs/{run_id}/artifacts")["artifacts"] if row["name"] == name]
        if rows:
            break
        assert time.monotonic() < deadline, f"{name} did not arrive"
        time.sleep(0.1)
    detail = server.get(f"/api/v1/artifacts/{rows[0]['artifactId']}")
    detail = detail.get("artifact", detail)
    body = {"runId": run_id, "artifactId": detail["artifactId"], "path": detail["files"][0]["path"]}
    headers = {"authorization": f"Bearer {server.key}"}
    answer = requests.post(f"{server.url}/api/v1/artifacts/download", json=body, headers=headers, timeout=20)
    return requests.get(answer.json()["url"], timeout=20).content, rows[0]


def test_a_snapshot_reaches_the_server(start_server, script):
    """A script that ends at once leaves its code, its patch and its environment, and the same code is one version."""
    server = start_server()
    Path("train.py").write_text("print(1)\n")
    Path(".gitignore").write_text("/out/\n.rundial_spool\n")
    Path("out").mkdir()
    Path("out/big.bin").write_text("x")
    for arguments in (("init", "-q"), ("add", "train.py", ".gitignore"), ("commit", "-qm", "first")):
        subprocess.run([*GIT, *arguments], check=True)
    Path("train.py").write_text("print(2)\n")
    Path(".env").write_text("KEY=hush\n")
    code = """
        import os, sys
        import rundial as rd
        run = rd.init(project="kept", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True,
                      snapshot_code=True, capture_env=True)
        os.chdir("/")
        assert run.finish(20)
        print(run.id)
    """
    first, second = (script(code, server.url, server.key).output()[0].strip() for _ in range(2))
    archive, row = fetch(server, first, "code-kept")
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        assert {name: packed.read(name) for name in packed.namelist()} == {
            ".gitignore": b"/out/\n.rundial_spool\n",
            "train.py": b"print(2)\n",
        }
    assert row["type"] == "code"
    assert row["metadata"]["git"]["dirty"] is True
    patch, _ = fetch(server, first, "patch-kept")
    assert b"+print(2)" in patch
    environment = server.get(f"/api/v1/runs/{first}")["environment"]
    assert environment["git"]["branch"] == "main"
    assert environment["packages"]["msgspec"]
    versions = server.get("/api/v1/projects/kept/artifacts?name=code-kept")["artifacts"]
    assert len(versions) == 1, f"{second} packed the same code"


def test_a_snapshot_waits_for_a_server(start_server, script):
    """Without a server the code waits with the records, and a later server has both."""
    Path("train.py").write_text("print(1)\n")
    script(
        """
        import rundial as rd
        rd.init(project="later", quiet=True, snapshot_code=True).finish()
        """
    ).output()
    server = start_server()
    run = server.wait_for("later", lambda row: row["status"] == "completed")
    archive, _ = fetch(server, run["runId"], "code-later")
    assert zipfile.ZipFile(io.BytesIO(archive)).read("train.py") == b"print(1)\n"
    assert not list(Path(".rundial_spool").glob("snapshot-*"))


def test_the_end_does_not_wait_longer_than_it_was_told(script, tmp_path):
    """A git that hangs takes the snapshot with it, not the time that finish was given."""
    subprocess.run([*GIT, "init", "-q"], check=True)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "tools/git").chmod(0o755)
    process = script(
        """
        import os, sys
        import rundial as rd
        os.environ["PATH"] = sys.argv[1] + ":" + os.environ["PATH"]
        run = rd.init(project="hangs", capture_env=True, quiet=True)
        run.log(loss=1)
        run.finish(0.2)
        print(run.diagnostics().balanced)
        """,
        tmp_path / "tools",
    )
    out, err = process.output()
    assert out == "True\n"
    assert "the run ended before its snapshot was taken" in err
