"""A file of a run as ``wandb.Api`` gives it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rundial.compat.wandb.errors import CommError
from rundial.http import Json, route

if TYPE_CHECKING:
    from rundial.compat.wandb._api_run import ApiRun
    from rundial.compat.wandb._artifact_class import Artifact


def media_path(item: Json) -> str:
    """The path that an item of media has among the run's files."""
    import mimetypes

    suffix = {"table": ".table.json"}.get(item["mediaType"]) or mimetypes.guess_extension(item["contentType"]) or ""
    number = f"_{item['index']}" if item.get("index") else ""
    return f"media/{item['mediaType']}/{item['key']}_{item['step']}{number}{suffix}"


class File:
    """A file of a run."""

    def __init__(
        self, run: ApiRun, name: str, size: int, artifact: Artifact | None = None, media_id: str | None = None
    ) -> None:
        self.name = name
        self.size = size
        self._run = run
        self._artifact = artifact
        self._media_id = media_id

    @property
    def path_uri(self) -> str:
        """Where it lies; an empty text, for a file of a server has no public place."""
        return ""

    def download(self, root: str = ".", replace: bool = False, exist_ok: bool = False, api: Any = None) -> Any:
        """Bring it here, below ``root``, and open it to be read.

        Args:
            replace: whether a file that is there is replaced.
            exist_ok: whether one that is there will do.

        Raises:
            ValueError: one is there, and neither is said.
            CommError: the server does not answer.
        """
        place = Path(root) / self.name
        if place.exists() and not replace:
            if exist_ok:
                return place.open()
            raise ValueError(f"File {self.name!r} already exists. Pass replace=True or exist_ok=True.")
        place.parent.mkdir(parents=True, exist_ok=True)
        if self._artifact is not None:
            inside = next(iter(self._artifact.manifest.entries))
            version = self._artifact.stored()
            fetched = version.get_path(inside, place.parent)
            if fetched != place:
                fetched.replace(place)
        else:
            place.write_bytes(self._content())
        return place.open()

    def _content(self) -> bytes:
        import requests

        client = self._run._api.client
        address = client.endpoint + "/api/v1" + route("runs", self._run.id, "media", str(self._media_id))
        headers = {"authorization": f"Bearer {client.api_key}"} if client.api_key else {}
        try:
            answer = requests.get(address, headers=headers, timeout=60, allow_redirects=False)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise CommError(f"{self.name} could not be fetched: {error}", error) from error
        return answer.content

    def __repr__(self) -> str:
        return f"<File {self.name} ({self.size} bytes)>"
