"""``rundial server backup``, ``restore`` and ``check``: what an operator does with a server's data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from rundial import config
from rundial.cli.output import answer, note
from rundial.cli.server import Database

Data = Annotated[Path | None, typer.Option(help="Data folder of the server. Default: `server` in Rundial's home.")]


def backup(
    target: Annotated[Path, typer.Argument(help="New folder, or new file that ends with .tar, .tar.gz or .tgz.")],
    data: Data = None,
    database: Database = None,
) -> None:
    """Back up a server's data, also while it runs."""
    from rundial.server.store.backup import back_up

    manifest = back_up(_folder(data), database, target, note)

    def show() -> None:
        print(f"{target}: {manifest.runs:,} runs, {manifest.points:,} points, {manifest.blobs:,} files.")
        if manifest.files != "disk":
            print(f"The files in {manifest.files} are not part of it; keep versions of them there.")
        print("It holds the owner's key: keep it as you keep a password.")
        for digest in manifest.damaged:
            print(f"file {digest}: it is missing or damaged. `rundial server check` says more.")

    answer({"target": str(target), "manifest": msgspec.to_builtins(manifest)}, show)
    if manifest.damaged:
        raise typer.Exit(1)


def restore(
    source: Annotated[Path, typer.Argument(help="A folder or file that `rundial server backup` made.")],
    data: Data = None,
    database: Annotated[
        str | None,
        typer.Option(help="Empty PostgreSQL database, if the backup is of one: postgresql://USER@HOST/NAME."),
    ] = None,
) -> None:
    """Restore a backup into a new folder; nothing is ever restored over another."""
    from rundial.server.store.restore import restore as restore_backup

    folder = _folder(data)
    manifest = restore_backup(source, folder, database, note)
    document: dict[str, Any] = {"data": str(folder), "manifest": msgspec.to_builtins(manifest)}
    answer(
        document,
        lambda: print(f"{folder}: {manifest.runs:,} runs, {manifest.points:,} points, {manifest.blobs:,} files."),
    )


def check(
    data: Data = None,
    database: Database = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the content of chunks, logs and files.")] = False,
) -> None:
    """Check that a server's data is whole, also while it runs; 1 when it is not."""
    from rundial.server.store.check import check as check_store
    from rundial.server.store.looking import looking

    folder = _folder(data)
    with looking(folder, database) as read:
        report = check_store(read, folder, is_sqlite=database is None, quick=quick, tell=note)

    def show() -> None:
        counts = report.counts
        print(
            f"{counts.runs:,} runs, {counts.points:,} points, {counts.blobs:,} files with {counts.blob_bytes:,} bytes."
        )
        if counts.chunks_unsealed:
            of = f"{counts.chunks_unsealed:,} of {counts.chunks:,} chunks"
            print(f"{of} have no checksum, because an earlier version wrote them.")
        if report.elsewhere is not None:
            print(f"The files in {report.elsewhere} were not looked at.")
        for problem in report.problems:
            print(f"{problem.place}: {problem.text}")
        print(f"{len(report.problems)} problems." if report.problems else "Everything holds together.")

    problems = [problem._asdict() for problem in report.problems]
    answer({"counts": report.counts._asdict(), "problems": problems, "whole": not problems}, show)
    if problems:
        raise typer.Exit(1)


def _folder(data: Path | None) -> Path:
    return data or config.home() / "server"
