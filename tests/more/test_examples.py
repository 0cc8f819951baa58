"""Each example of `examples/more` runs as it stands, without a server, where its framework is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "more"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example(path: Path) -> None:
    """It ends well, and what the framework itself prints is its own."""
    framework = path.stem.rpartition("_")[0]
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed here")
    environment = os.environ | {"YOLO_OFFLINE": "True"}
    result = subprocess.run([sys.executable, str(path)], env=environment, capture_output=True, text=True, timeout=280)

    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr, result.stderr
