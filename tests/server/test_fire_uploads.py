"""Signed addresses, altered at random: whatever is changed, the address is good for nothing.

``FORGERIES`` is how many are tried of each of the two.
"""

from __future__ import annotations

import os
import random
import string
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import pytest
import requests

from tests.server.uploader import initiate, put, upload

FORGERIES = int(os.environ.get("FORGERIES", "300"))
one_engine = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def altered(url: str, chance: random.Random, others: list[str]) -> str:
    """The address with one thing changed."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    way = chance.randrange(7)
    if way == 0:  # one character, anywhere behind the host
        rest = url[len(parts.scheme) + 3 + len(parts.netloc) :]
        at = chance.randrange(1, len(rest))
        other = chance.choice([it for it in string.ascii_letters + string.digits if it != rest[at]])
        return f"{parts.scheme}://{parts.netloc}{rest[:at]}{other}{rest[at + 1 :]}"
    if way == 1:
        pairs.pop(chance.randrange(len(pairs)))
    elif way == 2:
        pairs.insert(chance.randrange(len(pairs) + 1), chance.choice([("x", "1"), *pairs]))
    elif way == 3:  # a number one up or down, a text cut or doubled
        at = chance.randrange(len(pairs))
        name, value = pairs[at]
        new = str(int(value) + chance.choice([-1, 1, 10**9])) if value.isdigit() else value[:-1] or value * 2
        pairs[at] = (name, new if new != value else value + "0")
    elif way == 4:  # the signature, or any other field, of another address
        theirs = dict(parse_qsl(urlsplit(chance.choice(others)).query, keep_blank_values=True))
        at = chance.randrange(len(pairs))
        name, value = pairs[at]
        pairs[at] = (name, theirs[name] if theirs.get(name, value) != value else value + "0")
    elif way == 5:  # the path of another address
        return urlunsplit(parts._replace(path=urlsplit(chance.choice(others)).path + "0"))
    else:  # the same path, written in another way
        return urlunsplit(
            parts._replace(path=parts.path.replace("/blobs/", chance.choice(["//blobs/", "/Blobs/", "/blobs//"])))
        )
    return urlunsplit(parts._replace(query=urlencode(pairs, quote_via=quote)))


@one_engine
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_no_forged_address_is_good(server: Any, send_to: Any, method: str) -> None:
    """Of an upload and of a download; the true ones are good before and after."""
    send_to("run_a").start()
    begun = [initiate(server, "run_a", {"a": content}, name=f"w{content[0]}") for content in (b"one", b"two")]
    urls = [one["files"][0]["url"] for one in begun]
    if method == "GET":
        artifacts = [
            upload(server, "run_a", {"b": content}, name=f"x{content[0]}")["artifact"] for content in (b"3", b"4")
        ]
        asked = [{"artifactId": one["artifactId"], "path": "b"} for one in artifacts]
        urls = [server.post("/api/v1/artifacts/download", json=body).json()["url"] for body in asked]
    chance = random.Random(7)
    accepted = []
    with requests.Session() as session:
        for number in range(FORGERIES):
            url = altered(urls[0], chance, urls[1:])
            verb = method if number % 10 else ("GET" if method == "PUT" else "PUT")
            answer = session.request(verb, url, data=b"one" if verb == "PUT" else None, timeout=20)
            if answer.status_code not in (400, 401, 403, 404, 405):
                accepted.append((verb, url, answer.status_code))

    assert accepted == []
    good = put(urls[0], b"one") if method == "PUT" else requests.get(urls[0], timeout=20)
    assert good.status_code == 200
