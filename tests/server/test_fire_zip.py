"""The page opens archives of code by itself: one that lies about its size is given up, not unpacked."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

ASK = """
import { unzip } from "./zip.mjs";
import { readFileSync } from "node:fs";
const data = readFileSync(process.argv[2]);
const [entry] = unzip(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
const before = process.memoryUsage().rss;
const told = await entry.text().then((text) => `read ${text.length}`, (error) => `${error.name}: ${error.message}`);
console.log(told);
console.log(process.memoryUsage().rss - before < 64 * 2 ** 20);
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """What reads the first file of an archive with the page's own code."""
    esbuild = ROOT / "ui/node_modules/.bin/esbuild"
    if shutil.which("node") is None or not esbuild.exists():
        assert os.environ.get("RUNDIAL_REQUIRE_ALL") != "1", "Node is not here"
        pytest.skip("Node or the packages of the page are not here. Run: make ui")
    source = str(ROOT / "ui/src/zip.ts")
    subprocess.run([str(esbuild), source, "--format=esm", f"--outfile={tmp_path / 'zip.mjs'}"], check=True)
    (tmp_path / "ask.mjs").write_text(ASK)
    return tmp_path / "ask.mjs"


def archive(size: int, claimed: int) -> bytes:
    """A zip of one file of zeros that its directory says is of another size."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("main.py", bytes(size))
    data = bytearray(buffer.getvalue())
    struct.pack_into("<I", data, data.rindex(b"PK\x01\x02") + 24, claimed)
    return bytes(data)


@pytest.mark.parametrize(
    ("size", "claimed", "told"),
    [
        (1_000, 1_000, "read 1000"),
        (100_000_000, 100, "RangeError: The file is longer than its archive says."),
    ],
    ids=["honest", "bomb"],
)
def test_a_file_is_no_longer_than_the_archive_says(
    script: Path, tmp_path: Path, size: int, claimed: int, told: str
) -> None:
    """100 MB in 100 KB that say they are 100 bytes, which is what the page looks at before it opens them."""
    (tmp_path / "archive.zip").write_bytes(archive(size, claimed))

    done = subprocess.run(
        ["node", str(script), str(tmp_path / "archive.zip")], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout.splitlines() == [told, "true"], done.stderr
