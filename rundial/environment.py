"""What a run ran on: Python, platform, packages, processor, memory, GPUs and the variables that change results."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from rundial.values import is_secret_name
from rundial.worktree import without_credentials

MAX_VALUE = 500
"""Characters of a variable's value."""
MAX_PACKAGES = 3000
GPU_SECONDS = 5.0
_VARIABLES = frozenset(
    {
        "PYTHONPATH",
        "PYTHONHASHSEED",
        "VIRTUAL_ENV",
        "LD_LIBRARY_PATH",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "CONDA_DEFAULT_ENV",
        "CONDA_PREFIX",
        "CONDA_EXE",
        "CONDA_SHLVL",
        "RANK",
        "LOCAL_RANK",
        "WORLD_SIZE",
        "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "SLURM_JOB_ID",
        "SLURM_JOB_NAME",
        "SLURM_JOB_NODELIST",
        "SLURM_JOB_PARTITION",
        "SLURM_JOB_NUM_NODES",
        "SLURM_ARRAY_JOB_ID",
        "SLURM_ARRAY_TASK_ID",
        "SLURM_PROCID",
        "SLURM_LOCALID",
        "SLURM_NODEID",
        "SLURM_NTASKS",
        "SLURM_STEP_ID",
        "SLURM_CLUSTER_NAME",
    }
)
_PREFIXES = ("CUDA", "NCCL", "CUBLAS", "TORCH_CUDA", "PYTORCH_CUDA")
_INSTALLED = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info$")


def describe() -> dict[str, Any]:
    """Everything as one mapping of plain values. Takes up to some seconds where GPUs answer slowly; never raises."""
    return {
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
            "prefix": sys.prefix,
        },
        "platform": _platform(),
        "cpu": {"count": os.cpu_count(), "usable": _usable(), "model": _cpu_model()},
        "memory": {"bytes": _memory()},
        "gpus": gpus(),
        "packages": packages(),
        "variables": variables(),
    }


def _platform() -> dict[str, str]:
    system = os.uname()
    found = {"system": system.sysname, "release": system.release, "version": system.version, "machine": system.machine}
    found["libc"] = " ".join(platform.libc_ver()).strip()
    try:
        found["distribution"] = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        pass  # no Linux, or one that does not say
    return {key: value for key, value in found.items() if value}


def _usable() -> int | None:
    """Processors this process may run on, which a container or a scheduler may have cut down."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.processor()  # no Linux


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def packages() -> dict[str, str]:
    """Installed packages and their versions, read off the names of their ``*.dist-info`` folders.

    Opening the metadata of each, as ``importlib.metadata`` does, takes a hundred times longer and holds Python.
    """
    found: dict[str, str] = {}
    for folder in dict.fromkeys(sys.path):
        try:
            names = sorted(entry.name for entry in Path(folder or ".").iterdir())
        except OSError:
            continue  # a zip, or a place that does not exist
        for name in names:
            match = _INSTALLED.match(name)
            if match and len(found) < MAX_PACKAGES:
                found.setdefault(match["name"].replace("_", "-").lower()[:100], match["version"][:100])
    return dict(sorted(found.items()))


def variables() -> dict[str, str]:
    """The environment variables that change what a training does, and none that could hold a secret."""
    return {
        name: without_credentials(value)[:MAX_VALUE]
        for name, value in sorted(os.environ.items())
        if (name in _VARIABLES or name.startswith(_PREFIXES)) and not is_secret_name(name)
    }


def gpus() -> list[dict[str, Any]]:
    """Name, memory in bytes, driver and identity of each NVIDIA GPU, as the driver's own tool tells them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    question = "--query-gpu=name,memory.total,driver_version,uuid"
    try:
        answer = subprocess.run(
            [tool, question, "--format=csv,noheader,nounits"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GPU_SECONDS,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return []
    return [gpu for line in answer.stdout.splitlines()[:64] if (gpu := _gpu(line)) is not None]


def _gpu(line: str) -> dict[str, Any] | None:
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != 4:
        return None  # a message such as "No devices were found"
    name, memory, driver, identity = fields
    return {
        "name": name,
        "memoryBytes": int(memory) * 1024 * 1024 if memory.isdigit() else None,
        "driver": driver,
        "uuid": identity,
    }


def script() -> str:
    """The name of the running script without its ending; ``python`` when there is none."""
    name = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] not in ("", "-c", "-m") else ""
    return name or "python"
