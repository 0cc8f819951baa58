"""The list of 84 hostile requests: which test holds each of them, and tests of those that no other file holds."""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import psutil
import pytest

from rundial.server.app import RULES
from tests.conftest import ROOT
from tests.server.outside import Outside
from tests.server.uploader import download, entry, put, upload

MIB = 1024 * 1024
one_engine = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""

ROWS = {
    1: "server.test_auth::test_every_route_refuses_everybody_without_a_valid_key",
    2: "server.test_auth::test_what_is_no_key_answers_401",
    3: "server.test_auth::test_a_revoked_key_is_refused_at_once",
    4: "server.test_auth::test_every_route_refuses_a_key_without_its_scope",
    5: "server.test_auth::test_no_route_shows_a_key_of_another_workspace_anything",
    6: "server.test_rows::test_H006_a_key_is_looked_up_by_its_hash",
    7: "server.test_auth::test_two_authorization_headers_are_refused",
    8: "server.test_auth::test_a_key_in_the_address_is_no_key",
    9: "server.test_users::test_too_many_wrong_passwords_are_throttled",
    10: "server.test_users::test_another_way_of_writing_an_address_is_the_same_account",
    11: "server.test_users::test_nobody_has_an_account_until_somebody_makes_one",
    12: "server.test_artifacts::test_paths_that_could_lead_elsewhere_are_refused",
    13: "server.test_artifacts::test_paths_that_could_lead_elsewhere_are_refused",
    14: "server.test_artifacts::test_paths_that_could_lead_elsewhere_are_refused",
    15: "server.test_artifacts::test_odd_paths_are_opaque",
    16: "server.test_rows::test_H016_no_client_says_where_things_are_kept",
    17: "server.test_rows::test_H017_nothing_that_is_sent_switches_a_check_off",
    18: "unit.test_artifacts::test_a_link_in_the_folder_is_not_followed_out",
    19: "server.test_hostile::test_ids_that_could_be_paths_are_refused",
    20: "server.test_app::test_a_file_name_never_leaves_the_folder",
    21: "no route makes or opens an archive: test_the_server_opens_nothing_that_it_is_given",
    22: "unit.test_artifacts::test_a_hostile_path_is_refused",
    23: "server.test_hostile::test_damaged_and_inflating_bodies_are_refused_by_every_route",
    24: "server.test_rows::test_H024_H042_bombs_are_bytes",
    25: "server.test_hostile::test_what_is_no_request_is_refused_by_every_route",
    26: "server.test_hostile::test_numbers_beyond_every_bound_are_told_apart",
    27: "server.test_hostile::test_a_name_that_comes_twice_means_one_thing",
    28: "server.test_hostile::test_what_is_no_request_is_refused_by_every_route",
    29: "server.test_hostile::test_requests_whose_framing_is_a_lie_are_refused",
    30: "server.test_hostile::test_requests_whose_framing_is_a_lie_are_refused",
    31: "server.test_hostile::test_a_body_that_is_too_large_is_refused_before_it_is_read",
    32: "server.test_hostile::test_json_that_does_not_say_so_is_refused_by_every_route",
    33: "server.test_hostile::test_too_many_items_are_refused_whole",
    34: "server.test_hostile::test_numbers_beyond_every_bound_are_told_apart",
    35: "server.test_limits::test_H035_slow_heads_are_given_up_and_harm_nobody",
    36: "server.test_limits::test_H036_who_does_not_read_his_answer_is_given_up",
    37: "server.test_limits::test_H037_heads_are_bounded",
    38: "server.test_limits::test_H038_new_metrics_beyond_the_bound_are_refused_and_the_others_go_on",
    39: "server.test_hostile::test_pages_are_bounded_and_cursors_are_data",
    40: "server.test_rows::test_H040_one_range_or_none",
    41: "server.test_limits::test_H041_streams_of_one_key_are_bounded_and_leave_nothing",
    42: "server.test_rows::test_H024_H042_bombs_are_bytes",
    43: "server.test_rows::test_H043_names_have_a_length",
    44: "server.test_blobs::test_uploads_of_one_run_are_bounded",
    45: "server.test_hostile::test_every_text_comes_back_as_it_went_in",
    46: "server.test_app::test_query_parameters_are_checked",
    47: "server.test_rows::test_the_server_opens_nothing_that_it_is_given",
    48: "cli.test_metrics::test_export_csv",
    49: "server.test_logs::test_long_lines_and_controls",
    50: "server.test_rows::test_the_server_opens_nothing_that_it_is_given",
    51: "unit.test_start::test_secrets_are_not_in_the_first_record",
    52: "server.test_rows::test_the_server_opens_nothing_that_it_is_given",
    53: "server.test_rows::test_H053_an_error_that_names_a_class_is_a_text",
    54: "ui.test_hostile::test_nothing_runs_in_any_view",
    55: "ui.test_hostile::test_nothing_runs_in_any_view",
    56: "server.test_media::test_a_browser_gets_only_what_it_may_show",
    57: "server.test_media::test_a_browser_gets_only_what_it_may_show",
    58: "server.test_media::test_a_browser_gets_only_what_it_may_show",
    59: "ui.test_media::test_logged_code_does_not_run",
    60: "there are no cells of code: ui.test_media::test_logged_code_does_not_run",
    61: "ui.test_runs::test_metric_named_like_a_prototype_is_a_metric",
    62: "server.test_auth::test_a_foreign_host_is_refused_even_with_a_key",
    63: "server.test_auth::test_pages_of_other_origins_are_refused",
    64: "server.test_auth::test_pages_of_other_origins_are_refused",
    65: "server.test_login::test_a_session_reads_and_writes_from_its_own_page",
    66: "server.test_rows::test_H066_the_stream_is_not_for_other_origins",
    67: "server.test_app::test_every_answer_carries_a_request_id_and_the_security_headers",
    68: "server.test_rows::test_H068_no_GET_changes_anything",
    69: "every route wants a key on any address: server.test_cli_server::test_an_open_address_is_served_with_a_warning",
    70: "server.test_artifacts::test_a_changed_address_is_refused",
    71: "server.test_artifacts::test_an_address_dies_with_its_key",
    72: "server.test_artifacts::test_an_address_expires",
    73: "server.test_artifacts::test_another_body_than_was_announced_is_refused",
    74: "server.test_artifacts::test_another_project_looks_as_if_it_did_not_exist",
    75: "server.test_artifacts::test_known_content_of_another_workspace_is_asked_for",
    76: "server.test_artifacts::test_versions_finalized_at_the_same_time_are_dense",
    77: "server.test_artifacts::test_parts_that_make_another_file_are_refused_and_asked_for_again",
    78: "server.test_hostile::test_a_variant_of_an_id_is_another_id",
    79: "server.test_rows::test_H079_one_foreign_run_in_a_list_is_enough",
    80: "server.test_keys::test_workspaces_are_worlds_of_their_own",
    81: "server.test_rows::test_H081_nothing_is_kept_on_the_way",
    82: "server.test_auth::test_no_route_shows_a_key_of_another_workspace_anything",
    83: "server.test_rows::test_H083_a_batch_over_two_workspaces",
    84: "server.test_keys::test_denials_are_written_down_without_secrets",
}
"""Row of the list: the test that holds it, or why there is nothing to hold."""


def test_every_row_has_its_test() -> None:
    """And the tests are there."""
    assert sorted(ROWS) == list(range(1, 85))
    missing = []
    for row, place in ROWS.items():
        module, _, name = place.rpartition(": ")[2].rpartition("::")
        module, name = (module, name) if module else ("server.test_rows", place.rpartition(": ")[2])
        if not module.startswith("ui.") and name and not hasattr(importlib.import_module(f"tests.{module}"), name):
            missing.append((row, place))
        source = (ROOT / "tests" / (module.replace(".", "/") + ".py")).read_text()
        if f"def {name}" not in source:
            missing.append((row, place))
    assert missing == []


@pytest.fixture
def two(server: Any, send_to: Any) -> tuple[str, str]:
    """The key of a second workspace; each has a run, ``run_ours`` and ``run_theirs``."""
    send_to("run_ours", project="default-project").start()
    made = server.post("/api/v1/workspaces", json={"slug": "elsewhere"}).json()
    theirs = {"projectId": "default-project", "runId": "run_theirs"}
    assert server.post("/api/v1/runs/start", key=made["apiKey"], json=theirs).status_code == 200
    return server.key, made["apiKey"]


def test_H006_a_key_is_looked_up_by_its_hash(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much of a key is right decides nothing about where the search ends: the database never sees its text."""
    asked: list[Any] = []
    accounts = server.store.accounts
    find = accounts._find
    monkeypatch.setattr(accounts, "_find", lambda key, select: asked.append(key) or find(key, select))
    half = server.key[:24] + "x" * (len(server.key) - 24)

    assert server.get("/api/v1/auth/whoami", key=half).status_code == 401
    assert asked == [half]
    with server.store._engine.read() as db:
        hashes = [row[0] for row in db.execute("SELECT hash FROM api_keys").fetchall()]
    assert hashlib.sha256(server.key.encode()).hexdigest() in [
        it.hex() if isinstance(it, bytes) else str(it) for it in hashes
    ]


@one_engine
@pytest.mark.parametrize("name", ["artifactLocation", "artifact_location", "source", "modelUri", "storageRoot"])
def test_H016_no_client_says_where_things_are_kept(server: Any, send_to: Any, name: str, tmp_path: Path) -> None:
    """A field that would is not one of ours; what is uploaded lies where it always lies."""
    send_to("run_a").start()
    body = {"runId": "run_a", "name": "weights", "files": [entry("a", b"x")], name: f"file://{tmp_path}/out"}
    answer = server.post("/api/v1/artifacts/initiate", json=body)

    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        assert put(answer.json()["files"][0]["url"], b"x").status_code == 200
    assert not (tmp_path / "out").exists()


@one_engine
def test_H017_nothing_that_is_sent_switches_a_check_off(server: Any, send_to: Any) -> None:
    """No tag, no metadata, no parameter."""
    send_to("run_a").start(tags=["is_prompt=true"])
    flags = {"mlflow.prompt.is_prompt": "true", "validate": False, "skipValidation": True}
    body = {"runId": "run_a", "name": "w", "files": [entry("../../etc/passwd", b"x")], "metadata": flags}

    for query in ("", "?validate=false", "?is_prompt=true"):
        assert server.post(f"/api/v1/artifacts/initiate{query}", json=body).status_code == 400


@one_engine
def test_H024_H042_bombs_are_bytes(server: Any, send_to: Any) -> None:
    """A picture of 50,000 by 50,000 and a zip that never ends are stored and given back; nothing opens them."""
    send_to("run_a").start()
    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0)
    chunk = b"IHDR" + head
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(head)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    bombs = {"huge.png": png + zlib.compress(bytes(4 * MIB)), "deep.zip": b"PK\x03\x04" + bytes(1_000)}
    before = psutil.Process().memory_info().rss

    artifact = upload(server, "run_a", bombs)["artifact"]

    for path, content in bombs.items():
        assert download(server, artifact["artifactId"], path).content == content
    assert psutil.Process().memory_info().rss - before < 64 * MIB


@one_engine
@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("bytes=" + ",".join(["0-"] * 1_000), 200),
        ("bytes=0-1,3-4", 200),
        ("bytes=-0", 416),
        ("bytes=5-1", 200),
        ("bytes=0-18446744073709551615", 206),
        ("bytes=99-", 416),
        ("bytes=99999999999999999999-", 200),
        ("bytes=x-y", 200),
        ("lines=1-2", 200),
        ("bytes=1-2", 206),
        ("bytes=-3", 206),
        ("bytes=9-9", 206),
    ],
)
def test_H040_one_range_or_none(server: Any, send_to: Any, asked: str, status: int) -> None:
    """Never several, never more than there is."""
    send_to("run_a").start()
    artifact = upload(server, "run_a", {"a": b"0123456789"})["artifact"]

    answer = download(server, artifact["artifactId"], "a", range=asked)

    assert answer.status_code == status
    assert "multipart" not in answer.headers["content-type"]
    if status == 416:
        assert answer.json()["error"]["details"]["hint"]
    else:
        assert answer.content in b"0123456789"


@one_engine
def test_H043_names_have_a_length(server: Any, send_to: Any) -> None:
    """A metric key of 7 MB and a tag of 1 MB cost a 4xx or are cut, and the next request is answered."""
    send_to("run_a", project="default-project").start()
    point = {"projectId": "default-project", "runId": "run_a", "step": 0, "timestampMs": 1, "value": 1.0}

    long = server.post("/api/v1/ingest/metrics", json={"points": [{**point, "metricKey": "k" * 7 * MIB}]})
    tagged = server.call("PATCH", "/api/v1/runs/run_a", json={"tags": ["t" * MIB]})

    assert long.status_code in (200, 400, 413) and tagged.status_code in (200, 400, 413)
    keys = server.get("/api/v1/metrics/keys?runId=run_a").json()["keys"]
    assert all(len(key["metricKey"]) <= 512 for key in keys)
    assert all(len(tag) <= 512 for tag in server.get("/api/v1/runs/run_a").json()["tags"])


def test_the_server_opens_nothing_that_it_is_given() -> None:
    """By construction: no code of the server unpickles, unpacks, evaluates, runs, decodes or fetches anything."""
    forbidden = {"pickle", "shelve", "marshal", "zipfile", "tarfile", "xml", "subprocess", "PIL", "requests", "urllib3"}
    forbidden |= {"http.client", "urllib.request", "joblib", "torch", "yaml"}
    # What whoever runs the server types on its machine; no request leads there.
    typed = {"backup", "restore", "dumps"}
    written = {("tar.py", "tarfile")}  # it makes the heads of archives and reads none
    found = []
    for path in sorted((ROOT / "rundial/server").rglob("*.py")):
        if path.stem in typed:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [(path.name, name) for name in names if name in forbidden or name.split(".")[0] in forbidden]
            found += [(path.name, name) for name in names if name.rsplit(".", 1)[-1] in typed]
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                found.append((path.name, node.func.id))
    assert set(found) == written


def test_H053_an_error_that_names_a_class_is_a_text() -> None:
    """What a server says of an error is shown, and nothing is made of it."""
    from rundial.http import _refusal

    body = {"error": {"code": "builtins.SystemExit", "message": "os.system", "details": {"hint": ["x"], "args": [1]}}}
    error = _refusal("look", 500, json.dumps(body).encode())

    assert (type(error).__name__, error.error_code, error.error_hint) == ("RequestError", "builtins.SystemExit", None)


@one_engine
def test_H066_the_stream_is_not_for_other_origins(server: Any, send_to: Any) -> None:
    """Nor is there anything to upgrade to."""
    send_to("run_a").start()
    upgrade = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "eA==",
    }

    foreign = server.get("/api/v1/stream?runId=run_a", headers={"origin": "http://evil.example"})
    upgraded = server.get("/api/v1/nothing", headers=upgrade)

    assert foreign.status_code == 403
    assert upgraded.status_code == 404


def test_H068_no_GET_changes_anything() -> None:
    """What the audit writes down is asked for with another method, and so is everything that writes."""
    for rule in RULES:
        methods = rule.route.methods or set()
        if methods & {"GET", "HEAD"}:
            assert rule.action is None
            assert not rule.scope.endswith(":write"), rule.route.path


def test_H079_one_foreign_run_in_a_list_is_enough(server: Any, two: tuple[str, str]) -> None:
    """The whole request is 404, or the foreign run is not touched."""
    _, stranger = two
    both = ["run_theirs", "run_ours"]
    for path, body in {
        "query/buckets": {"runIds": both, "metricKeys": ["loss"]},
        "query/markers": {"runIds": both},
        "runs/edit": {"runIds": both, "addTags": ["stolen"]},
        "runs/delete": {"runIds": both},
        "runs/restore": {"runIds": both},
    }.items():
        answer = server.post(f"/api/v1/{path}", key=stranger, json=body)
        assert answer.status_code in (200, 404), path
        assert "loss" not in answer.text and "default-project" not in answer.text
    assert server.get("/api/v1/stream?runId=run_theirs&runId=run_ours", key=stranger).status_code == 404
    ours = server.get("/api/v1/runs/run_ours").json()
    assert (ours["status"], ours["tags"]) == ("running", [])


@one_engine
def test_H081_nothing_is_kept_on_the_way(server: Any, two: tuple[str, str]) -> None:
    """No answer of the interface may be stored by a cache, for whichever key it was."""
    for rule in RULES:
        if "GET" not in (rule.route.methods or ()) or rule.route.path in ("/", "/assets/{name}", "/api/v1/stream"):
            continue
        for key in two:
            answer = server.get(rule.route.path.replace("{runId}", "run_ours").replace("{ws}", "elsewhere"), key=key)
            assert answer.headers["cache-control"] in ("no-store", "private, no-store"), rule.route.path


def test_H083_a_batch_over_two_workspaces(server: Any, two: tuple[str, str]) -> None:
    """The points of the foreign run are refused and counted, the others taken."""
    outside = Outside(server.url, two[1])
    point = {"projectId": "default-project", "metricKey": "loss", "step": 0, "timestampMs": 1, "value": 1.0}
    points = [point | {"runId": "run_theirs"}, point | {"runId": "run_ours"}]

    answer = outside.post("ingest", "metrics", body={"points": points})

    assert answer["accepted"] == 1
    assert server.get("/api/v1/metrics/keys?runId=run_ours").json()["keys"] == []
