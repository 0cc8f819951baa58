"""Artifacts through W&B's names, against a real server: what goes in comes out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import rundial.compat.wandb as wandb
from rundial.compat.wandb._artifact_class import ArtifactNotLoggedError
from rundial.compat.wandb._artifact_draft import ArtifactFinalizedError
from tests.flows.conftest import ServerProcess


@pytest.fixture
def run(server: ServerProcess, request: pytest.FixtureRequest) -> Iterator[wandb.Run]:
    """A run in a project of its own."""
    with wandb.init(project=request.node.name[:60].replace("[", "-").replace("]", "")) as run:
        yield run


def draft(name: str = "data", **arguments: object) -> wandb.Artifact:
    """A draft with one small file."""
    artifact = wandb.Artifact(name, "dataset", **arguments)
    with artifact.new_file("a.txt") as file:
        file.write("one")
    return artifact


def test_files_folders_and_references_come_back(run: wandb.Run, tmp_path: Path) -> None:
    """Every file with its content and path, references with their URI; the digest stays what it was."""
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "b.bin").write_bytes(os.urandom(2_000_000))
    single = tmp_path / "c.txt"
    single.write_text("three")
    artifact = draft(metadata={"rows": 3}, description="some data")
    artifact.add_dir(str(folder), name="dir")
    artifact.add_file(str(single), name="renamed.txt")
    artifact.add_reference("s3://bucket/far.tar")
    digest = artifact.digest
    single.write_text("changed afterwards")
    assert run.log_artifact(artifact, aliases=["best"]) is artifact
    assert artifact.wait() is artifact and artifact.version == "v0" and artifact.name == "data:v0"
    found = run.use_artifact("data:best", type="dataset")
    assert found.digest == artifact.digest == digest
    assert (found.metadata, found.description, found.type) == ({"rows": 3}, "some data", "dataset")
    place = Path(found.download(tmp_path / "back", allow_missing_references=True))
    assert (place / "dir/inner/b.bin").read_bytes() == (folder / "inner/b.bin").read_bytes()
    assert (place / "renamed.txt").read_text() == "three"
    assert found.get_entry("far.tar").ref_target() == "s3://bucket/far.tar"
    assert set(found.manifest.entries) == {"a.txt", "dir/inner/b.bin", "renamed.txt", "far.tar"}
    with pytest.raises(ValueError, match="cannot be fetched"):
        found.download(tmp_path / "back")


def test_versions_count_from_v0_and_aliases_move(run: wandb.Run) -> None:
    """A new content is a new version, ``latest`` moves, and ``name:v0`` stays what it was."""
    run.log_artifact(draft(), aliases=["old"]).wait()
    second = draft()
    with second.new_file("b.txt") as file:
        file.write("two")
    second = run.log_artifact(second).wait()
    assert second.version == "v1"
    assert list(run.use_artifact("data:v0").manifest.entries) == ["a.txt"]
    assert run.use_artifact("data:latest").version == "v1" and run.use_artifact("data:old").version == "v0"
    again = run.log_artifact(draft(name="data2")).wait()
    again.aliases.append("prod")
    again.metadata["checked"] = True
    again.save()
    assert run.use_artifact("data2:prod").metadata == {"checked": True}
    again.aliases.remove("prod")
    again.save()
    with pytest.raises(wandb.CommError, match="prod"):
        run.use_artifact("data2:prod")


def test_tables_and_media_are_given_back_as_objects(run: wandb.Run) -> None:
    """``add`` and ``get``: a table with pictures in its cells, and a picture alone."""
    artifact = wandb.Artifact("objects", "dataset")
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    table = wandb.Table(columns=["n", "picture"], data=[[1, wandb.Image(pixels)], [2, wandb.Image(pixels)]])
    artifact.add(table, "table")
    artifact.add(wandb.Image(pixels, caption="here"), "picture")
    run.log_artifact(artifact).wait()
    found = run.use_artifact("objects:latest")
    back = found.get("table")
    assert back.columns == ["n", "picture"] and [row[0] for row in back.data] == [1, 2]
    from PIL import Image

    assert (np.asarray(Image.open(back.data[1][1].image)) == pixels).all()
    assert found.get("picture").caption == "here" and found.get("nothing") is None


def test_links_and_models(run: wandb.Run, tmp_path: Path) -> None:
    """A linked artifact is found under its further name; ``use_model`` gives the file itself."""
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"weights")
    run.link_model(str(weights), "Best Model", name="net", aliases=["staging"])
    assert run.use_artifact("model-registry/Best Model:staging").version == "v0"
    assert Path(run.use_model("net:latest")).read_bytes() == b"weights"
    run.log_artifact(draft())
    with pytest.raises(ValueError, match="model"):
        run.use_model("data:latest")


def test_who_made_it_and_who_uses_it(run: wandb.Run) -> None:
    """Lineage through the objects: ``logged_by`` and ``used_by``."""
    run.log_artifact(draft()).wait()
    found = run.use_artifact("data:latest")
    assert found.logged_by().id == run.id and [user.id for user in found.used_by()] == [run.id]


def test_checkout_verify_and_new_draft(run: wandb.Run, tmp_path: Path) -> None:
    """``checkout`` removes what is too much, ``verify`` finds what differs, a draft begins where the version is."""
    artifact = run.log_artifact(draft()).wait()
    root = tmp_path / "root"
    root.mkdir()
    (root / "stray.txt").write_text("stray")
    artifact.checkout(str(root))
    assert [path.name for path in root.iterdir()] == ["a.txt"]
    artifact.verify(str(root))
    (root / "a.txt").write_text("two")
    with pytest.raises(ValueError, match="Digest mismatch"):
        artifact.verify(str(root))
    following = artifact.new_draft()
    following.remove("a.txt")
    assert run.log_artifact(following).wait().version == "v1" and following.file_count == 0
    artifact.delete(delete_aliases=True)
    with pytest.raises(wandb.CommError):
        run.use_artifact("data:v0")


def test_mistakes_are_said(run: wandb.Run, tmp_path: Path) -> None:
    """Names, paths, and what a draft has not and a version takes not."""
    with pytest.raises(ValueError, match="Invalid name: a b"):
        wandb.Artifact("a b", "dataset")
    artifact = draft()
    with pytest.raises(ValueError, match="not a file"):
        artifact.add_file(str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="inside"):
        artifact.add_file(__file__, name="../x")
    with pytest.raises(ArtifactNotLoggedError):
        _ = artifact.version
    run.log_artifact(artifact)
    with pytest.raises(ArtifactFinalizedError):
        artifact.add_file(__file__)
    with pytest.raises(wandb.CommError, match="nothing"):
        run.use_artifact("nothing:latest")


def test_offline_it_is_staged_and_nothing_waits() -> None:
    """Without a server the artifact waits in the spool; asking for one is the error that W&B raises."""
    with wandb.init(project="off", mode="offline") as run:
        artifact = run.log_artifact(draft())
        assert artifact.state == "PENDING" and run.sink.diagnostics().artifacts_logged == 1
        with pytest.raises(TypeError, match="offline"):
            run.use_artifact("data:latest")
        with pytest.raises(ArtifactNotLoggedError):
            artifact.wait()
