"""The Python in the README and the docs runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"(?P<no_run><!-- no-run: \S.*? -->\n)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def script(page: Path) -> str:
    """The blocks of a page, one after another, without those marked `<!-- no-run: reason -->`."""
    return "\n".join(match["code"] for match in BLOCK.finditer(page.read_text()) if not match["no_run"])


PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if script(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(page: Path) -> None:
    """A reader who types a page's blocks one after another sees no error."""
    result = subprocess.run([sys.executable, "-c", script(page)], capture_output=True, text=True, timeout=60)

    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr, result.stderr


def test_readme_shows_the_quickstart() -> None:
    """The README's quick start is the example of that name, and is no longer than fifteen lines."""
    code = script(ROOT / "README.md")

    assert code in (ROOT / "examples/quickstart.py").read_text()
    assert len(code.splitlines()) <= 15
