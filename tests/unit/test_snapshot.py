"""Snapshots: which files are code, what the archive is, what is known of machine and repository."""

import json
import os
import subprocess
import threading
import zipfile
from pathlib import Path

import pytest

from rundial import environment, snapshot, worktree
from rundial.events import RunUpdate
from rundial.ignore import code_files
from rundial.snapshot import Snapshot, TooLarge, code_snapshot, listed, pack
from rundial.testing import capture_run

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main")


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def git(root, *arguments):
    return subprocess.run([*GIT, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def paths(root):
    return sorted(file.path for file in code_files(root))


RULES = {
    "anchored": {
        ".gitignore": "/top.txt\n/secret/\n",
        "top.txt": "",
        "a/top.txt": "",
        "secret/x": "",
        "a/secret/x": "",
    },
    "folders only": {".gitignore": "build/\n", "build/x": "", "a/build/x": "", "b/build": ""},
    "anchored in the middle": {".gitignore": "a/b\n", "a/b": "", "c/a/b": ""},
    "negated": {".gitignore": "*.log\n!keep.log\n", "x.log": "", "keep.log": "", "a/keep.log": "", "a/y.log": ""},
    "no way back into a folder": {".gitignore": "out/\n!out/keep\n", "out/keep": "", "out/drop": ""},
    "a way back into its files": {".gitignore": "out/*\n!out/keep\n", "out/keep": "", "out/drop": ""},
    "stars": {
        ".gitignore": "**/cache\na/**/z\nlogs/**\n",
        "x/cache/f": "",
        "a/b/c/z": "",
        "a/z": "",
        "logs/d/e": "",
        "z": "",
    },
    "nested": {
        ".gitignore": "*.txt\n",
        "a/.gitignore": "!*.txt\n/own\n",
        "a/x.txt": "",
        "x.txt": "",
        "a/own": "",
        "a/b/own": "",
    },
    "comments and escapes": {
        ".gitignore": "# no\n\\#yes\n\\!bang\nsp\\ \n",
        "#yes": "",
        "!bang": "",
        "no": "",
        "sp ": "",
    },
    "classes": {".gitignore": "[ab].py\n?.txt\n", "a.py": "", "c.py": "", "x.txt": "", "xy.txt": ""},
    "trailing spaces and odd lines": {".gitignore": "a.txt   \n!\n/\n\n", "a.txt": "", "b.txt": ""},
}


@pytest.mark.parametrize("case", RULES)
def test_the_rules_mean_what_git_means(case, tmp_path):
    """git itself is asked which files it would take."""
    git(tmp_path, "init", "-q")
    write(tmp_path, RULES[case])
    taken = git(tmp_path, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    assert paths(tmp_path) == sorted(filter(None, taken))


def test_a_folder_inside_a_repository_keeps_its_rules(tmp_path):
    """The rules above the root hold; a root that they ignore is packed all the same, for it was asked for."""
    git(tmp_path, "init", "-q")
    write(
        tmp_path,
        {".gitignore": "/inner/drop\n*.log\n/ignored/\n", "inner/drop": "", "inner/keep": "", "inner/a.log": ""},
    )
    write(tmp_path, {"ignored/x": ""})
    assert paths(tmp_path / "inner") == ["keep"]
    assert paths(tmp_path / "ignored") == ["x"]


def test_rundialignore_has_the_last_word(tmp_path):
    """It leaves out what .gitignore keeps, and brings back what .gitignore leaves out."""
    write(tmp_path, {".gitignore": "*.txt\n/data/\n", ".rundialignore": "*.md\n!notes.txt\n!/data/\n/data/big\n"})
    write(
        tmp_path,
        {"a.txt": "", "notes.txt": "", "a.md": "", "data/small": "", "data/big": "", "sub/.gitignore": "notes.txt"},
    )
    write(tmp_path, {"sub/notes.txt": ""})
    assert paths(tmp_path) == [
        ".gitignore",
        ".rundialignore",
        "data/small",
        "notes.txt",
        "sub/.gitignore",
        "sub/notes.txt",
    ]


def test_secrets_and_waste_are_never_code(tmp_path):
    """Whatever the rules say, keys, environments and caches stay out; names that only look alike stay in."""
    never = [
        ".env",
        ".env.local",
        "a/.ENV",
        "x.pem",
        "server.KEY",
        "id_rsa",
        "id_rsa.pub",
        "id_ed25519",
        ".netrc",
        "c.p12",
    ]
    never += [
        "credentials.json",
        "credentials-prod.json",
        "m.pyc",
        ".git/config",
        "venv/x",
        ".venv/x",
        "__pycache__/x.py",
    ]
    never += ["node_modules/x.js", ".rundial_spool/x", ".envs/bin/python"]
    kept = ["env.py", "keys.py", "credentials.py", "environment/x.py", "monkey.txt"]
    write(tmp_path, dict.fromkeys([*never, *kept], "x"))
    write(tmp_path, {".rundialignore": "!*\n!.env\n"})
    assert paths(tmp_path) == sorted([*kept, ".rundialignore"])


def test_links_and_odd_files_are_left_out(tmp_path):
    """Links, to files, folders or nowhere, pipes and what cannot be read are passed over."""
    outside = tmp_path / "outside"
    root = tmp_path / "root"
    write(tmp_path, {"outside/secret.py": "x", "root/a.py": "x"})
    (root / "file").symlink_to(outside / "secret.py")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "dead").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"\xff.py")).write_text("x")
    found = listed(root)
    assert [os.fsencode(file.path) for file in found] == [b"a.py", b"\xff.py"]
    assert pack(found, root, tmp_path / "x.zip").files == 2


def test_the_same_code_is_the_same_archive(tmp_path):
    """Times, order and place do not matter; content and the executable bit do."""
    files = {"b.py": "print(2)\n", "a/c.py": "print(1)\n", "run.sh": "#!/bin/sh\n"}
    for place in ("one", "two"):
        write(tmp_path / place, files if place == "one" else dict(reversed(files.items())))
        os.utime(tmp_path / place / "b.py", (1, 1 if place == "one" else 10**9))
        (tmp_path / place / "run.sh").chmod(0o755 if place == "one" else 0o700)
        pack(listed(tmp_path / place), tmp_path / place, tmp_path / f"{place}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == files
        assert archive.getinfo("run.sh").external_attr >> 16 == 0o100755
        assert archive.testzip() is None


def test_a_file_that_went_away_is_counted(tmp_path):
    """What was removed or became a link since it was listed is missing, and the rest is packed."""
    write(tmp_path, {"w/a.py": "1", "w/b.py": "2", "w/c.py": "3"})
    root = tmp_path / "w"
    found = listed(root)
    (root / "a.py").unlink()
    (root / "b.py").unlink()
    (root / "b.py").symlink_to("c.py")
    assert pack(found, root, tmp_path / "x.zip") == (1, 1, 2)


@pytest.mark.parametrize(("bound", "says"), [("MAX_FILES", "too many files"), ("MAX_BYTES", "total bytes exceeded")])
def test_a_workspace_beyond_the_bounds(tmp_path, monkeypatch, bound, says):
    """It is refused with the advice, unless forced."""
    write(tmp_path, {"a.py": "xx", "b.py": "xx"})
    monkeypatch.setattr(snapshot, bound, 1)
    with pytest.raises(TooLarge, match=f"{says}.*rundialignore.*force_snapshot=True"):
        listed(tmp_path)
    assert len(listed(tmp_path, force=True)) == 2


def repository(root):
    write(root, {"train.py": "print(1)\n", ".env.example": "KEY=old\n"})
    git(root, "init", "-q")
    git(root, "add", "-f", ".")
    git(root, "commit", "-qm", "first")
    return git(root, "rev-parse", "HEAD").strip()


@pytest.mark.parametrize(
    ("remote", "kept"),
    [
        ("https://user:token@example.com/o/r.git", "https://example.com/o/r.git"),
        ("https://token@example.com/o/r.git?access=1", "https://example.com/o/r.git"),
        ("git@example.com:o/r.git", "git@example.com:o/r.git"),
    ],
)
def test_what_git_says(tmp_path, remote, kept):
    """Commit, branch, whether it is dirty, and the remote without a password."""
    assert worktree.describe(tmp_path) == {}
    commit = repository(tmp_path)
    git(tmp_path, "remote", "add", "origin", remote)
    assert worktree.describe(tmp_path) == {"commit": commit, "branch": "main", "dirty": False, "remote": kept}
    write(tmp_path, {"train.py": "print(2)\n"})
    git(tmp_path, "checkout", "-q", "--detach")
    assert worktree.describe(tmp_path) == {"commit": commit, "branch": None, "dirty": True, "remote": kept}


def test_a_repository_without_a_commit(tmp_path):
    """It has a branch, and neither commit nor patch."""
    git(tmp_path, "init", "-q")
    write(tmp_path, {"a.py": "x"})
    assert worktree.describe(tmp_path) == {"commit": None, "branch": "main", "dirty": False}
    assert worktree.patch(tmp_path) is None


def test_the_patch_has_changes_and_no_secrets(tmp_path, monkeypatch):
    """It applies to the commit; files with secret names are not in it, and one that is too large is left out."""
    repository(tmp_path)
    assert worktree.patch(tmp_path) is None
    write(tmp_path, {"train.py": "print(2)\n", ".env.example": "KEY=hush\n"})
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    text = worktree.patch(tmp_path)
    monkeypatch.delenv("GIT_DIR")
    assert "+print(2)" in text
    assert "hush" not in text
    write(tmp_path, {"train.py": "print(1)\n", "p.patch": text})
    git(tmp_path, "apply", "p.patch")
    assert (tmp_path / "train.py").read_text() == "print(2)\n"
    write(tmp_path, {"train.py": "x" * worktree.MAX_PATCH})
    assert worktree.patch(tmp_path) is None


def test_without_git_there_is_nothing(tmp_path, monkeypatch):
    """No git on the machine, or one that hangs, is no error."""
    repository(tmp_path)
    tools = tmp_path / "tools"
    write(tools, {"git": "#!/bin/sh\nexec sleep 60\n"})
    (tools / "git").chmod(0o755)
    monkeypatch.setattr(worktree, "SECONDS", 0.1)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    assert worktree.describe(tmp_path) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (worktree.describe(tmp_path), worktree.patch(tmp_path)) == ({}, None)


def test_the_environment(monkeypatch):
    """Platform, packages and the variables that matter; nothing that could be a secret, and long values are cut."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("CUDA_API_KEY", "hush")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("PYTHONPATH", "https://me:hush@example.com/x" + "y" * 1000)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    found = environment.describe()
    assert found["variables"]["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert found["variables"]["SLURM_JOB_ID"] == "77"
    assert len(found["variables"]["PYTHONPATH"]) == environment.MAX_VALUE
    assert "hush" not in json.dumps(found)
    assert found["memory"]["bytes"] > 1 << 28
    assert found["platform"]["machine"] == os.uname().machine
    import msgspec

    assert found["packages"]["msgspec"] == msgspec.__version__
    assert found["packages"]["import-linter"]  # folders have an underscore there


def test_gpus_as_the_driver_tells_them(tmp_path, monkeypatch):
    """Each line of nvidia-smi is a GPU; what is no such line is passed over."""
    write(
        tmp_path, {"nvidia-smi": "#!/bin/sh\necho 'NVIDIA H100, 81559, 550.54, GPU-1'\necho 'No devices were found'\n"}
    )
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    memory = 81559 * 1024 * 1024
    assert environment.gpus() == [{"name": "NVIDIA H100", "memoryBytes": memory, "driver": "550.54", "uuid": "GPU-1"}]


def environments(server):
    return [event.environment for event in server.events if isinstance(event, RunUpdate) and event.environment]


def test_the_end_of_a_short_run_waits_for_its_snapshot():
    """Started and stopped at once, the environment is there, in one record."""
    with capture_run(capture_env=True) as (run, server):
        taken = Snapshot(run._pipeline, run._settings)
        taken.start()
        taken.stop()
        run.finish(5)
    (found,) = environments(server)
    assert found["python"]["executable"]


def test_a_huge_environment_is_cut_to_a_record(monkeypatch):
    """Packages go first, and the record stays within its bound."""
    monkeypatch.setattr(environment, "packages", lambda: {f"package-{n}": "1.0" * 20 for n in range(10_000)})
    with capture_run(capture_env=True) as (run, server):
        taken = Snapshot(run._pipeline, run._settings)
        taken.start()
        taken.stop()
        run.finish(5)
    (found,) = environments(server)
    assert 1000 < len(found["packages"]) < 10_000


def test_logging_goes_on_while_two_snapshots_pack(monkeypatch):
    """A snapshot that stands still holds nothing that log() needs, and its end is not waited for for ever."""
    Path("a.py").write_text("x")
    started, go_on = threading.Barrier(3, timeout=20), threading.Event()

    def stand_still(*arguments):
        started.wait()
        go_on.wait(20)
        return snapshot.Packed(0, 0, 0)

    monkeypatch.setattr(snapshot, "pack", stand_still)
    with capture_run(snapshot_code=True, finish_timeout=0.1) as (run, server):
        both = [Snapshot(run._pipeline, run._settings) for _ in range(2)]
        for taken in both:
            taken.start()
        started.wait()
        for step in range(1000):
            assert run.log({"loss": step}, step=step)
        with pytest.warns(RuntimeWarning, match="ended before its snapshot"):
            for taken in both:
                taken.stop()
        go_on.set()
        run.finish(5)
    assert server.series("loss") == list(range(1000))


def test_a_workspace_too_large_is_one_warning(monkeypatch):
    """During a run nothing is raised: the snapshot is left out."""
    Path("a.py").write_text("x")
    monkeypatch.setattr(snapshot, "MAX_FILES", 0)
    with capture_run(snapshot_code=True) as (run, _), pytest.warns(RuntimeWarning, match="too many files"):
        taken = Snapshot(run._pipeline, run._settings)
        taken.start()
        taken.stop()
    assert not list(Path(run._settings.spool_directory).glob("snapshot-*"))


def test_the_code_alone(monkeypatch):
    """code_snapshot packs the folder it is given, whatever the settings ask for, under the project's name."""
    from rundial import artifacts

    seen = []

    def log_artifact(pipeline, path, **options):
        with zipfile.ZipFile(path) as archive:
            seen.append((archive.namelist(), options))
        return True

    monkeypatch.setattr(artifacts, "log_artifact", log_artifact)
    write(Path.cwd(), {"inner/a.py": "xyz", "b.py": "x"})
    with capture_run(project="vision", capture_env=True) as (run, server):
        taken = code_snapshot(run._pipeline, run._settings, "inner")
        taken.start()
        taken.stop()
        run.finish(5)
    ((names, options),) = seen
    assert names == ["a.py"]
    assert (options["name"], options["type"]) == ("code-vision", "code")
    assert options["metadata"] == {"root": str(Path("inner").resolve()), "files": 1, "bytes": 3, "git": {}}
    assert environments(server) == []
