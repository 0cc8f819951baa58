"""Importing Rundial costs next to nothing."""

import json
import subprocess
import sys

HEAVY = {"numpy", "requests", "urllib3", "starlette", "uvicorn", "rich", "PIL", "psutil", "typer", "platformdirs"}


def loaded(code):
    """Top-level modules that are loaded once the code has run."""
    code += "\nimport json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(answer.stdout))


def test_importing_loads_nothing_heavy():
    """Neither does it load the server."""
    assert loaded("import rundial") & HEAVY == set()
    assert loaded("import rundial_sdk") & HEAVY == set()


def test_a_run_without_a_server_loads_nothing_heavy():
    """Logging to this machine's own store, with no server running, needs no HTTP."""
    code = "import rundial; run = rundial.init(quiet=True); run.log({'x': 1}); run.finish()"
    assert loaded(code) & HEAVY == set()


def test_importing_does_nothing(tmp_path):
    """No file, no thread, no handler: a library that is only imported is not there."""
    code = """if True:
        import atexit, signal, sys, threading
        before = sys.excepthook, signal.getsignal(signal.SIGTERM), atexit._ncallbacks()
        import rundial
        after = sys.excepthook, signal.getsignal(signal.SIGTERM), atexit._ncallbacks()
        assert threading.active_count() == 1
        assert before == after
    """
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not (tmp_path / "home").exists()
    assert list((tmp_path / "work").iterdir()) == []
