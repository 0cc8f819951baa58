"""Importing Rundial costs next to nothing."""

import json
import os
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


def test_importing_leaves_out_what_the_first_call_does_not_need():
    """Uploads, delivery and typing_extensions are a third of what an import would cost."""
    code = "import rundial, sys; print([name for name in sys.argv[1:] if name in sys.modules])"
    names = ["typing_extensions", "rundial.uploads", "rundial.delivery", "rundial.protocols", "rundial.recovery"]
    answer = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_what_stood_in_for_typing_extensions_is_gone():
    """Whoever imports it gets the real one, and msgspec asks the real one."""
    code = """if True:
        import sys, rundial, msgspec
        assert "typing_extensions" not in sys.modules
        from typing_extensions import NotRequired, TypedDict
        class Point(TypedDict):
            x: int
            y: NotRequired[int]
        assert msgspec.json.decode(b'{"x": 1}', type=Point) == {"x": 1}
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_stands_in_while_another_thread_might_meet_it():
    """A library that is imported in another thread at that moment finds what it looks for."""
    code = """if True:
        import sys, threading
        stop = threading.Event()
        threading.Thread(target=stop.wait).start()
        import rundial
        assert "typing_extensions" in sys.modules
        stop.set()
    """
    subprocess.run([sys.executable, "-c", code], check=True)


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


def test_a_msgspec_that_wants_more_of_typing_extensions_gets_it(tmp_path):
    """Another version may ask for another name: it is the real one then, and Rundial is imported all the same."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.abc, sys\n"
        "class Greedy(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'msgspec':\n"
        "            from typing_extensions import NamedTuple, get_type_hints\n"
        "            sys.meta_path.remove(self)\n"
        "sys.meta_path.insert(0, Greedy())\n"
    )
    code = "import rundial, sys, typing_extensions; print(typing_extensions.__file__ is not None, rundial.__version__)"
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, timeout=60)
    assert answer.stdout.startswith("True"), answer.stderr
