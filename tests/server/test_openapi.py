"""The OpenAPI document: complete, true, and what a fuzzer makes of it."""

import json
import warnings

import pytest

from rundial.server.api.openapi import BODIES
from rundial.server.app import RULES
from rundial.server.auth import PUBLIC

BODILESS = {"agents.revoke", "keys.revoke", "users.invite", "users.remove", "accounts.links", "accounts.logout"}


REAL = {
    "ws": "default-workspace",
    "pj": "default-project",
    "workspace": "default-workspace",
    "project": "default-project",
    "projectSlug": "default-project",
    "projectId": "default-project",
    "runId": "run_a",
    "runIds": ["run_a"],
    "metricKeys": ["loss"],
}
"""What is there, in place of what a fuzzer makes up: behind a 404 there is little to find."""


def with_real_names(body):
    """The body, and what stands in its lists, with names of what is there."""
    if isinstance(body, list):
        return [with_real_names(one) for one in body]
    if isinstance(body, dict):
        return {key: REAL[key] if key in REAL else with_real_names(value) for key, value in body.items()}
    return body


@pytest.fixture
def described(server):
    return server.get("/api/openapi.json").json()


def operations(described):
    return {
        (method.upper(), path): one for path, methods in described["paths"].items() for method, one in methods.items()
    }


def test_every_route_is_described(described):
    """With what it does, what it needs and what it takes."""
    found = operations(described)
    wanted = {
        (method, rule.route.path)
        for rule in RULES
        for method in rule.route.methods - {"HEAD"}
        if rule.route.path.startswith(("/api/", "/health/"))
    }

    assert found.keys() == wanted
    assert len({one["operationId"] for one in found.values()}) == len(found)
    assert [
        at for at, one in found.items() if (one.get("security") == []) != ("Needs no key." in one["description"])
    ] == []
    assert [rule.route.path for rule in RULES if rule.scope == PUBLIC and "/api/" in rule.route.path]


def test_every_body_is_described(described):
    """A handler that reads JSON and is missing from the table would be a hole in the document."""
    missing = [
        one["operationId"]
        for (method, _), one in operations(described).items()
        if method in ("POST", "PATCH") and "requestBody" not in one and one["operationId"] not in BODILESS
    ]
    references = {found for found in json.dumps(described).split('"') if found.startswith("#/components/schemas/")}

    assert missing == []
    assert {name.rpartition("/")[2] for name in references} <= described["components"]["schemas"].keys()
    assert len(BODIES) >= 30


def test_the_page_needs_nothing_from_elsewhere(server):
    """One document without a script, which names every route."""
    answer = server.get("/api/docs")

    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<script" not in answer.text and "://" not in answer.text
    assert all(rule.route.path in answer.text for rule in RULES if rule.route.path.startswith("/api/v1/"))


def test_a_fuzzer_finds_no_failure(server, send_to, described):
    """Schemathesis sends what the document allows, and what it does not: never a 5xx."""
    hypothesis = pytest.importorskip("hypothesis")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schemathesis = pytest.importorskip("schemathesis")
        sender = send_to("run_a", project="default-project")
        sender.start()
        sender.log(1, loss=0.5)
        described["paths"].pop("/api/v1/stream")  # it never ends
        described["paths"].pop("/api/v1/auth/logout")
        schema = schemathesis.openapi.from_dict(described)
        failures, answered = [], {}

        @hypothesis.settings(
            max_examples=12,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        )
        @hypothesis.given(data=hypothesis.strategies.data())
        def fuzz(operation, data):
            mode = data.draw(hypothesis.strategies.sampled_from(list(schemathesis.GenerationMode)))
            try:
                case = data.draw(operation.as_strategy(generation_mode=mode))
            except (hypothesis.errors.Unsatisfiable, schemathesis.errors.SchemathesisError):
                return
            if data.draw(hypothesis.strategies.booleans()):
                case.path_parameters = {
                    name: REAL.get(name, value) for name, value in (case.path_parameters or {}).items()
                }
                case.body = with_real_names(case.body)
            answer = case.call(base_url=server.url, headers={"authorization": f"Bearer {server.key}"}, timeout=20)
            answered.setdefault(operation.label, set()).add(answer.status_code)
            if answer.status_code >= 500:
                failures.append((operation.label, answer.status_code, case.body, case.query, case.path_parameters))

        for result in schema.get_all_operations():
            fuzz(result.ok())

    assert failures == []
    assert len(answered) >= 60
    assert sum(1 for statuses in answered.values() if 200 in statuses) > len(answered) / 2  # not only refused
