"""Users: roles, invitations, passwords, and what a wrong one costs."""

import threading

import pytest

from rundial.server.store import passwords

USERS = "/api/v1/workspaces/default-workspace/users"
PROJECTS = "/api/v1/workspaces/default-workspace/projects"
LOGIN = "/api/v1/auth/login/credentials"
PASSWORD = "a long enough phrase"


@pytest.fixture
def browser(server):
    """Calls as a page does: with a session cookie from the own origin. ``browser(session, method, path, ...)``"""

    def call(session, method, path, **options):
        headers = {"origin": server.url, "cookie": f"rd_session={session}"}
        return server.call(method, path, key="", headers=headers, **options)

    return call


@pytest.fixture
def invite(server):
    """Makes a user of a role and redeems the link: ``(user, session)``."""

    def make(email, role="member", **fields):
        made = server.post(USERS, json={"email": email, "role": role, **fields})
        assert made.status_code == 200, made.text
        answer = server.post("/api/v1/auth/login/link", key="", json={"token": made.json()["token"]})
        return made.json()["user"], answer.cookies["rd_session"]

    return make


def log_in(server, email, password):
    return server.post(LOGIN, key="", json={"email": email, "password": password})


def test_an_invited_user_sets_a_password_and_signs_in_with_it(server, browser, invite):
    """The link is good once; the password, from then on, as often as one likes; the address in whatever case."""
    user, session = invite("Ann@Example.org", name="Ann")
    changed = browser(session, "POST", "/api/v1/auth/password", json={"password": PASSWORD})
    me = browser(session, "GET", "/api/v1/auth/whoami").json()

    assert changed.json()["user"]["hasPassword"] is True
    assert (me["principal"], me["user"]["email"], me["user"]["role"]) == ("user", "ann@example.org", "member")
    assert log_in(server, " ANN@example.ORG ", PASSWORD).cookies["rd_session"]
    assert log_in(server, "ann@example.org", PASSWORD + "!").status_code == 401
    assert user["hasPassword"] is False


def test_what_each_role_may(server, browser, invite, send_to):
    """A viewer looks, a member also changes runs and makes projects, an owner manages people too."""
    send_to("run_a", project="default-project").start()

    def statuses(role, session):
        return [
            browser(session, "GET", "/api/v1/runs/run_a").status_code,
            browser(session, "PATCH", "/api/v1/runs/run_a", json={"notes": "n"}).status_code,
            browser(session, "POST", PROJECTS, json={"slug": f"by-{role}"}).status_code,
            browser(session, "GET", USERS).status_code,
        ]

    sessions = {role: invite(f"{role}@example.org", role)[1] for role in ("viewer", "member", "owner")}

    assert {role: statuses(role, session) for role, session in sessions.items()} == {
        "viewer": [200, 403, 403, 403],
        "member": [200, 200, 200, 403],
        "owner": [200, 200, 200, 200],
    }


def test_a_changed_role_and_a_removal_hold_at_once(server, browser, invite):
    """For sessions that are open, too; the address of a removed user is free again."""
    user, session = invite("bob@example.org", "owner", password=PASSWORD)
    before = browser(session, "GET", USERS).status_code
    server.post(f"{USERS}/{user['userId']}/role", json={"role": "viewer"})
    demoted = browser(session, "GET", USERS).status_code
    server.post(f"{USERS}/{user['userId']}/remove", json={})

    assert (before, demoted) == (200, 403)
    assert browser(session, "GET", "/api/v1/auth/whoami").status_code == 401
    assert log_in(server, "bob@example.org", PASSWORD).status_code == 401
    assert server.post(f"{USERS}/{user['userId']}/links", json={}).status_code == 404
    assert server.post(USERS, json={"email": "bob@example.org"}).status_code == 200
    assert [one["status"] for one in server.get(USERS).json()["users"]].count("removed") == 1


def test_a_password_is_changed_with_the_old_one_and_ends_other_sessions(server, browser, invite):
    """Whoever finds a browser open cannot take the account over."""
    _, first = invite("cy@example.org", password=PASSWORD)
    second = log_in(server, "cy@example.org", PASSWORD).cookies["rd_session"]
    wrong = browser(first, "POST", "/api/v1/auth/password", json={"password": "another long phrase", "current": "no"})
    right = browser(
        first, "POST", "/api/v1/auth/password", json={"password": "another long phrase", "current": PASSWORD}
    )

    assert (wrong.status_code, right.status_code) == (403, 200)
    assert browser(first, "GET", "/api/v1/auth/whoami").status_code == 200
    assert browser(second, "GET", "/api/v1/auth/whoami").status_code == 401
    assert log_in(server, "cy@example.org", PASSWORD).status_code == 401
    assert server.post("/api/v1/auth/password", json={"password": PASSWORD}).status_code == 403


@pytest.mark.parametrize("email", ["", "nobody", "a@", "@b", "a b@c.d", "a\x00@b.c", "x" * 300 + "@b.c", "a@b@c"])
def test_what_is_no_address_is_refused(server, email):
    """It would never be reached, and never be typed again."""
    assert server.post(USERS, json={"email": email}).status_code == 400


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_passwords_have_a_length(server, password):
    """Long enough to be worth something, short enough to be no burden."""
    assert server.post(USERS, json={"email": "dee@example.org", "password": password}).status_code == 400


def test_another_way_of_writing_an_address_is_the_same_account(server, invite):
    """Case, width and composition do not make another user."""
    invite("éva@example.org")

    again = [
        server.post(USERS, json={"email": text})
        for text in ("ÉVA@example.org", "E\u0301va@Example.org", "éva@\uff45xample.org")
    ]

    assert [answer.status_code for answer in again] == [409, 409, 409]


def test_nobody_has_an_account_until_somebody_makes_one(server):
    """No default password opens a fresh server."""
    for email in ("admin", "admin@example.org", "owner", "root@localhost"):
        for password in ("admin", "password", "", "owner"):
            assert log_in(server, email, password).status_code in (401, 429)


def test_too_many_wrong_passwords_are_throttled(server, invite, monkeypatch):
    """Also for accounts that do not exist; when the time has passed the right one works again."""
    invite("fay@example.org", password=PASSWORD)

    def tries(email):
        return [log_in(server, email, "wrong guess").status_code for _ in range(passwords.ACCOUNT_FAILURES + 1)]

    assert tries("fay@example.org") == tries("nobody@example.org") == [401] * passwords.ACCOUNT_FAILURES + [429]
    assert log_in(server, "fay@example.org", PASSWORD).status_code == 429
    monkeypatch.setattr(passwords, "WINDOW_SECONDS", 0.0)
    assert log_in(server, "fay@example.org", PASSWORD).status_code == 200


def test_failures_are_counted_within_the_window_and_bounded():
    """The names of attackers do not fill the memory."""
    throttle = passwords.Throttle()
    for n in range(passwords._REMEMBERED + 10):
        throttle.fail(f"name {n}")

    assert len(throttle._failures) == passwords._REMEMBERED


def test_a_password_is_kept_as_a_salted_hash(server, invite, tmp_path):
    """Two users with the same one have nothing in common, and the text is nowhere on the disk."""
    invite("gil@example.org", password=PASSWORD)
    invite("hal@example.org", password=PASSWORD)
    with server.store._engine.read() as db:
        kept = [row[0] for row in db.execute("SELECT password FROM users")]

    assert len(set(kept)) == 2 and all(text.startswith("scrypt$32768$8$1$") for text in kept)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not [path for path in files if PASSWORD.encode() in path.read_bytes()]


def test_logins_are_written_down(server, invite):
    """Those that worked and those that did not, with no secret in them."""
    user, _ = invite("ida@example.org", password=PASSWORD)
    log_in(server, "ida@example.org", PASSWORD)
    log_in(server, "ida@example.org", "wrong guess")

    answer = server.get("/api/v1/workspaces/default-workspace/audit?actorKind=user")

    found = [(one["action"], one["verdict"], one["targetId"]) for one in answer.json()["events"]]
    assert found == [("session.create", verdict, user["userId"]) for verdict in ("denied", "allowed")]
    assert PASSWORD not in answer.text and "wrong guess" not in answer.text


def test_a_flood_of_logins_leaves_the_server_responsive(server, invite):
    """More logins than the pool has threads: nobody else waits for them."""
    invite("joe@example.org", password=PASSWORD)
    flood = [threading.Thread(target=log_in, args=(server, f"u{n}@example.org", "guess")) for n in range(60)]
    for thread in flood:
        thread.start()
    statuses = [server.get("/api/v1/workspaces").status_code for _ in range(5)]
    waiting = sum(thread.is_alive() for thread in flood)
    for thread in flood:
        thread.join()

    assert statuses == [200] * 5
    assert waiting > 0
