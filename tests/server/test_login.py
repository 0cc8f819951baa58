"""From a terminal into the page: login links and sessions."""

import requests

LOGIN = "/api/v1/auth/login/link"


def log_in(server):
    """The session cookie that a new login link gives."""
    token = server.post("/api/v1/auth/links").json()["token"]
    return server.post(LOGIN, key="", json={"token": token}).cookies["rd_session"]


def test_a_login_link_works_once(server):
    """It names the page, its token stands behind the #, and a second use finds it gone."""
    link = server.post("/api/v1/auth/links").json()
    first = server.post(LOGIN, key="", json={"token": link["token"]})
    second = server.post(LOGIN, key="", json={"token": link["token"]})

    assert link["url"] == f"{server.url}/#/login/{link['token']}"
    assert first.status_code == 200
    assert second.status_code == 401


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(server):
    """HttpOnly, SameSite=Strict, for the whole server."""
    token = server.post("/api/v1/auth/links").json()["token"]

    cookie = server.post(LOGIN, key="", json={"token": token}).headers["set-cookie"]

    assert cookie.startswith("rd_session=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))


def test_a_session_reads_and_writes_from_its_own_page(server):
    """A write needs the page's origin or the browser's word that it is the same one."""
    cookies = {"rd_session": log_in(server)}
    body = {"runId": "none", "metricKeys": ["loss"]}

    def write(headers):
        return server.post("/api/v1/query/series", key="", json=body, cookies=cookies, headers=headers).status_code

    assert server.get("/api/v1/auth/whoami", key="", cookies=cookies).json()["principal"] == "user"
    assert write({"origin": server.url}) == 404
    assert write({"sec-fetch-site": "same-origin"}) == 404
    assert write({"sec-fetch-site": "cross-site"}) == 403
    assert write({}) == 403


def test_logout_ends_the_session(server):
    """The cookie is of no use afterwards, even if somebody kept it."""
    cookies = {"rd_session": log_in(server)}

    answer = server.post("/api/v1/auth/logout", key="", cookies=cookies, headers={"origin": server.url})

    assert answer.status_code == 200
    assert server.get("/api/v1/auth/whoami", key="", cookies=cookies).status_code == 401


def test_a_wrong_key_beside_a_good_cookie_is_refused(server):
    """What is sent first-hand counts, never a mix."""
    cookies = {"rd_session": log_in(server)}

    assert server.get("/api/v1/auth/whoami", key="rdk_wrong", cookies=cookies).status_code == 401


def test_a_link_cannot_be_redeemed_from_another_site(server):
    """Nobody is signed in to somebody else's account unasked."""
    token = server.post("/api/v1/auth/links").json()["token"]
    headers = {"origin": "http://evil.example"}

    assert server.post(LOGIN, key="", json={"token": token}, headers=headers).status_code == 403
    assert requests.post(server.url + LOGIN, json={"token": token}, timeout=10).status_code == 200
