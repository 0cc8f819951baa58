"""Large attributes: what goes to the artifact store, what stays, and what stands in its place."""

import argparse
import dataclasses
import hashlib
import json

import pytest

from rundial.attributes import HASHED_BYTES, INLINE_BYTES, MAX_FILES, named
from rundial.events import Span
from rundial.staging import FILES, job_folders, read_job
from rundial.testing import capture_run
from rundial.wire import encode


class Stored:
    """A span with these attributes as it arrived, and the files that were staged for the artifact store, by path."""

    def __init__(self, attrs, **options):
        with capture_run(**options) as (run, server):
            with run.trace("large", attrs=attrs) as span:
                pass
            run._opened.worker.flush(5)
            run._opened.uploads.prepare(5)
            folders = job_folders(run._opened.spool.folder)
            self.jobs = [read_job(folder) for folder in folders]
            self.files = {
                file.path: (folder / FILES / file.staged).read_bytes()
                for folder, job in zip(folders, self.jobs)
                for file in job.files
            }
            self.diagnostics = run.diagnostics()
            run.finish(0)
        self.made = span
        self.span = next(event for event in server.events if isinstance(event, Span))
        self.attrs = self.span.attrs


def test_a_value_of_nearly_16_kib_stays():
    """It fits into the record, whole."""
    found = Stored({"prompt": "x" * 16_000, "n": 1})

    assert found.attrs == {"prompt": "x" * 16_000, "n": 1}
    assert found.jobs == []


def test_a_class_is_its_name():
    """Also one of NumPy's, which has the methods of its values."""
    np = pytest.importorskip("numpy")

    assert Stored({"dtype": np.float32}).attrs == {"dtype": "<class 'numpy.float32'>"}


def test_a_value_beyond_16_kib_leaves_a_reference():
    """With its size, hash, type and how it begins; the value itself is a file of an artifact."""
    text = "long " * 4000
    found = Stored({"prompt": text, "n": 1})
    reference = found.attrs["prompt"]
    name = f"trace-evidence-{found.made.span_id}"

    assert found.attrs["n"] == 1
    assert found.files == {"evidence/prompt.txt": text.encode()}
    assert reference == {
        "kind": "rundial.evidence_ref",
        "artifact": name,
        "path": "evidence/prompt.txt",
        "key": "prompt",
        "sizeBytes": 20_000,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "contentType": "text/plain",
        "preview": text[:200],
    }
    (job,) = found.jobs
    assert (job.name, job.type, job.kind) == (name, "trace_evidence", "artifact")
    assert (job.metadata["traceId"], job.metadata["spanId"]) == (found.made.trace_id, found.made.span_id)


def test_bytes_and_structures():
    """Bytes as they are, mappings and lists as JSON, names as paths; all in one artifact."""
    found = Stored(
        {
            "image": b"\x00\xff" * 20_000,
            "tool.output": {"rows": list(range(10_000)), "raw": b"\x01"},
            "../../etc/pass wd": "x" * 20_000,
            "-": "a" * 17_000,
            "é": "b" * 17_000,
        }
    )

    assert len(found.jobs) == 1
    assert found.files["evidence/image.bin"] == b"\x00\xff" * 20_000
    assert json.loads(found.files["evidence/tool.output.json"])["raw"]["data"] == "AQ=="
    assert found.files["evidence/-etc-pass-wd.txt"] == b"x" * 20_000
    assert {reference["path"] for reference in found.attrs.values()} == set(found.files)
    assert len(found.files) == 5
    assert "preview" not in found.attrs["image"]


def test_many_values_that_are_too_much_together():
    """The small ones stay, the largest have files, the rest share one; nothing is lost and the record stays small."""
    attrs = {f"key {number}": "x" * (number * 20) for number in range(200)}
    found = Stored(attrs)
    kept = {key: value for key, value in found.attrs.items() if isinstance(value, str)}
    alone = {value["key"]: value["path"] for value in found.attrs.values() if isinstance(value, dict)}
    rest = json.loads(found.files[alone.pop("rundial.more")])

    assert rest | kept | {key: found.files[path].decode() for key, path in alone.items()} == attrs
    assert kept.keys() >= {f"key {number}" for number in range(20)}
    assert len(alone) == MAX_FILES
    assert len(encode(found.span)) <= INLINE_BYTES


def test_more_large_values_than_files():
    """Sixteen have a file each; no span makes a thousand files."""
    attrs = {f"v{number}": chr(97 + number) * 20_000 for number in range(20)}
    found = Stored(attrs)

    assert len(found.files) == 17
    assert len(json.loads(found.files["evidence/more-attributes.json"])) == 4
    assert len(encode(found.span)) <= INLINE_BYTES


def test_a_very_large_value_is_not_hashed_on_the_training_thread():
    """The store knows its hash anyway."""
    found = Stored({"video": b"\x00" * (HASHED_BYTES + 1)})

    assert found.attrs["video"]["sha256"] is None
    assert found.attrs["video"]["sizeBytes"] == HASHED_BYTES + 1


def test_without_room_for_uploads_the_beginning_is_kept():
    """The span says that the value was dropped; it is counted."""
    with capture_run(artifact_queue_capacity=1) as (run, server), pytest.warns(RuntimeWarning):
        for number in range(3):
            run.trace(f"span {number}", attrs={"text": "long " * 5000}).finish()
        dropped = sum(run.diagnostics().artifacts_dropped.values())
        assert run._pipeline.worker.flush(10)  # the records; nobody here takes the uploads
        run.finish(0)
    kinds = [event.attrs["text"]["kind"] for event in server.events if isinstance(event, Span)]

    assert kinds.count("rundial.evidence_ref") >= 1
    assert kinds.count("rundial.evidence_marker") == dropped >= 1


def test_a_disabled_run_keeps_nothing():
    """Large values go nowhere, and no thread is started for them."""
    import rundial as rd

    run = rd.init(mode="disabled")
    assert run.trace("large", attrs={"text": "x" * 100_000}).finish() is True
    run.finish()


@dataclasses.dataclass
class Login:
    """Something with a secret in it."""

    user: str
    password: str


def test_secrets_are_redacted_wherever_they_lie():
    """Under their own name and inside of mappings, lists, dataclasses and namespaces; counts of tokens stay."""
    assert named("api_key", "sk-1") == named("client.token", b"sk-1") == "[redacted]"
    assert named("authorization", ["Bearer sk-1", 7, None]) == ["[redacted]", 7, None]
    nested = named("request", {"headers": {"Authorization": "Bearer sk-1"}, "max_tokens": 5, "token": {"n": 1}})
    assert nested == {"headers": {"Authorization": "[redacted]"}, "max_tokens": 5, "token": {"n": 1}}
    assert named("login", Login("ann", "sk-1")) == {"user": "ann", "password": "[redacted]"}
    assert named("args", argparse.Namespace(hub_token="sk-1", seed=1)) == {"hub_token": "[redacted]", "seed": 1}
    assert named("prompt", "the token is in the name alone") == "the token is in the name alone"
