"""What a run of W&B says about itself: names, places, addresses."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from rundial import runs
from rundial.compat.wandb import _folder
from rundial.compat.wandb._config import Config
from rundial.compat.wandb._settings import Settings
from rundial.sweeps import page as sweep_page


class RunFacts:
    """The facts of a run; those that can be set are set at the server, too.

    Args:
        sink: the :class:`rundial.Run` behind it.
        settings: what ``init`` was told, with the environment's share.
        config: the configuration.
        entity: whose run it is; kept, and not looked up anywhere.
        project: the project's name as it was given.
        files: the run's folder for files; None for a disabled run, which makes it when it is asked for.
    """

    def __init__(
        self, sink: runs.Run, settings: Settings, config: Config, entity: str, project: str, files: Path | None
    ) -> None:
        self.sink = sink
        """The :class:`rundial.Run` behind it."""
        self.settings = settings
        self.config = config
        self.entity = entity
        self.project = project
        self.sweep_id: str | None = settings.sweep_id
        self._files = files
        self._step = 0

    @property
    def id(self) -> str:
        """Its id, of eight characters unless it was given."""
        return self.sink.id

    @property
    def name(self) -> str:
        """Its display name."""
        return self.sink.name

    @name.setter
    def name(self, name: str) -> None:
        self.sink.rename(name)

    @property
    def notes(self) -> str | None:
        """Its notes."""
        return self.sink.notes

    @notes.setter
    def notes(self, notes: str) -> None:
        self.sink.set_notes(notes)

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        return self.sink.tags

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        self.sink.set_tags(list(tags))

    @property
    def group(self) -> str:
        """The group it belongs to, or an empty text."""
        return self.sink.group or ""

    @property
    def job_type(self) -> str:
        """Its kind of work, or an empty text."""
        return self.sink.job_type or ""

    @property
    def path(self) -> str:
        """``entity/project/id``, without the entity when there is none."""
        return "/".join(part for part in (self.entity, self.project, self.id) if part)

    @property
    def dir(self) -> str:
        """The folder for its files; what lies there at its end is stored."""
        if self._files is None:
            self._files = _folder.make(_folder.root_of(self.settings.root_dir), self.id, True)
        return str(self._files)

    @property
    def step(self) -> int:
        """The present step."""
        return self._step

    @property
    def offline(self) -> bool:
        """Whether everything just waits on the disk."""
        return self.sink.mode == "offline"

    @property
    def disabled(self) -> bool:
        """Whether nothing is kept at all."""
        return self.sink.mode == "disabled"

    @property
    def mode(self) -> str:
        """``online``, ``offline`` or ``disabled``."""
        return self.sink.mode

    @property
    def url(self) -> str | None:
        """Where the page shows it; None until a server has answered."""
        return self.sink.url

    @property
    def project_url(self) -> str | None:
        """Where the page shows its project; None until a server has answered."""
        place = "/".join(quote(part, safe="") for part in (self.sink.workspace, self.sink.project))
        return f"{self.url.partition('/#/')[0]}/#/p/{place}" if self.url else None

    @property
    def sweep_url(self) -> str | None:
        """Where the page shows its sweep; None without one, and until a server has answered."""
        if not self.url or not self.sweep_id:
            return None
        return sweep_page(self.url.partition("/#/")[0], self.sink.workspace, self.sink.project, self.sweep_id)

    def get_url(self) -> str | None:
        """The same as :attr:`url`."""
        return self.url

    def get_project_url(self) -> str | None:
        """The same as :attr:`project_url`."""
        return self.project_url

    def get_sweep_url(self) -> str | None:
        """The same as :attr:`sweep_url`."""
        return self.sweep_url

    def project_name(self) -> str:
        """The same as :attr:`project`."""
        return self.project

    @property
    def config_static(self) -> Config:
        """The configuration."""
        return self.config

    @property
    def _run_id(self) -> str:
        return self.id

    @property
    def _attach_id(self) -> str:
        return self.id

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """A frame with its page, for a notebook; an empty text while it has no address."""
        return (
            f'<iframe src="{self.url}" style="border:none;width:100%;height:{height}px"></iframe>' if self.url else ""
        )

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Say where it can be seen. False when nowhere yet."""
        from rundial.compat.wandb.errors.term import termlog

        if self.url:
            termlog(f"View run {self.name} at {self.url}")
        return self.url is not None
