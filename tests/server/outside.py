"""A client of the JSON wire as somebody else would write it: plain ``urllib``, nothing of ours."""

from __future__ import annotations

import gzip
import json
import urllib.error
import urllib.request
from urllib.parse import quote, urlencode


class Outside:
    """Talks to one server with one key, or with a session cookie."""

    def __init__(self, url, key=None, cookie=None):
        self.url = url.rstrip("/")
        self.key = key
        self.cookie = cookie

    def ask(self, method, path, body=None, *, query=None, packed=False, headers=None):
        """Status, document and headers of an answer. ``path`` is a text, or segments to be quoted."""
        if not isinstance(path, str):
            path = "/api/v1/" + "/".join(quote(segment, safe="") for segment in path)
        address = self.url + path + (f"?{urlencode(query)}" if query else "")
        sent = {"x-rundial-client": "rundial-python/1.0.0-rc.1", "x-rundial-protocol": "1", **(headers or {})}
        data = None
        if body is not None:
            data = json.dumps(body, separators=(",", ":")).encode()
            sent["content-type"] = "application/json"
            if packed:
                data = gzip.compress(data)
                sent["content-encoding"] = "gzip"
        if self.key:
            sent["authorization"] = f"Bearer {self.key}"
        elif self.cookie:
            sent["cookie"] = f"rd_session={self.cookie}"
        return self._send(urllib.request.Request(address, data, sent, method=method))

    def do(self, method, path, body=None, **options):
        """The document of an answer that is a success and a JSON object."""
        status, document, _ = self.ask(method, path, body, **options)
        assert 200 <= status < 300 and status != 204, (status, document)
        assert isinstance(document, dict)
        return document

    def post(self, *path, body=None, **options):
        return self.do("POST", path, {} if body is None else body, **options)

    def get(self, *path, **query):
        return self.do("GET", path, query=query)

    def put(self, url, data, required):
        """Send bytes to an address that carries its own permission; its ETag."""
        status, _, headers = self._send(urllib.request.Request(url, data, required, method="PUT"))
        assert status == 200
        return headers["ETag"]

    def fetch(self, url):
        """The bytes behind an address that carries its own permission."""
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.read()

    @staticmethod
    def _send(request):
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                data, status, headers = answer.read(), answer.status, answer.headers
        except urllib.error.HTTPError as error:
            with error:
                data, status, headers = error.read(), error.code, error.headers
        return status, json.loads(data) if data else None, headers
