"""System metrics: what the machine does while the run trains, sampled in a thread of its own.

CPU, memory, disk and network come from /proc on Linux, elsewhere from psutil; NVIDIA GPUs from NVML when ``pynvml`` is
installed, else from ``nvidia-smi``; AMD GPUs from ``amdsmi`` when it is installed. What a machine does not have is left
out.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from rundial import proc
from rundial.config import Settings
from rundial.events import SYSTEM_PREFIX, Metrics
from rundial.forks import load
from rundial.pipeline import Pipeline
from rundial.queue import RESERVE_BYTES
from rundial.values import normalise

MIN_INTERVAL_SECONDS = 2.0
FIRST_SECONDS = 1.0
"""When the first sample is taken: a run that ends sooner is not worth one."""
_SETTLE_SECONDS = 0.2
"""The first load of the CPU is the mean over this time."""
_SMI_SECONDS = 5.0
_MIB = 1024 * 1024
Sample = dict[str, float]
_missing = suppress(Exception)
"""Around what this machine, container or user may not have: drivers fail in ways of their own, and a value that cannot
be had is left out of the sample."""


class SystemMonitor:
    """Samples the machine every few seconds into a run.

    Args:
        pipeline: where the samples go, as metrics whose steps are Unix seconds.
        settings: interval, and the share of the queue above which a sample is skipped and counted.
        provider: called for the values instead of looking at the machine.
    """

    def __init__(
        self, pipeline: Pipeline, settings: Settings, provider: Callable[[], Mapping[str, float]] | None
    ) -> None:
        self._pipeline = pipeline
        self._provider = provider
        self._interval = settings.system_metrics_interval_seconds
        self._most_bytes = settings.system_metrics_backpressure_threshold * (settings.queue_bytes - RESERVE_BYTES)
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the thread. It dies with the process and does not exist in a forked child."""
        if not self._interval >= MIN_INTERVAL_SECONDS:
            self._pipeline.counters.warn_once(
                "system interval", f"system metrics are sampled every {MIN_INTERVAL_SECONDS:g} s, not more often."
            )
            self._interval = MIN_INTERVAL_SECONDS
        try:
            threading.Thread(target=self._work, name="rundial-system", daemon=True).start()
        except RuntimeError as error:
            self._pipeline.counters.warn_once("system", f"there are no system metrics: {error}.")

    def stop(self) -> None:
        """Take no further sample. Returns at once."""
        self._stopped.set()

    def _work(self) -> None:
        if self._stopped.wait(FIRST_SECONDS):
            return
        try:
            read = self._machine() if self._provider is None else self._provider
            while True:
                self._sample(read)
                if self._stopped.wait(self._interval):
                    return
        except Exception as error:  # noqa: BLE001 - whatever this machine is like, the training goes on without us
            if not self._stopped.is_set():  # else the run has ended in the middle of a sample
                self._pipeline.counters.warn_once("system", f"there are no more system metrics: {error!r}")

    def _machine(self) -> Callable[[], Sample]:
        machine = Machine()
        self._stopped.wait(_SETTLE_SECONDS)
        return machine.sample

    def _sample(self, read: Callable[[], Mapping[str, float]]) -> None:
        pipeline = self._pipeline
        if pipeline.queue.bytes_held > self._most_bytes:
            pipeline.counters.system_samples_skipped_backpressure += 1
            return
        try:
            found = normalise(read())[0]
        except Exception as error:  # noqa: BLE001 - a provider is anybody's code
            pipeline.counters.warn_once("system", f"a sample of system metrics failed: {error!r}")
            return
        moment = time.time_ns()
        values = {key if key.startswith(SYSTEM_PREFIX) else SYSTEM_PREFIX + key: found[key] for key in found}
        if values and not self._stopped.is_set() and pipeline.emit(Metrics(moment, moment // 10**9, values)):
            pipeline.counters.system_samples_collected += 1


class Readings(Protocol):
    """Where readings of the machine come from; :mod:`rundial.proc` says what each is."""

    def cpu_ticks(self) -> tuple[float, float]: ...
    def memory_bytes(self) -> tuple[int, int]: ...
    def own(self) -> tuple[int, int]: ...
    def disk_bytes(self) -> tuple[int, int]: ...
    def network_bytes(self) -> tuple[int, int]: ...


class Psutil:
    """The readings where there is no /proc."""

    def __init__(self) -> None:
        load("psutil")
        import psutil

        self._psutil: Any = psutil  # a reading that this machine does not have is None
        self._process = psutil.Process()

    def cpu_ticks(self) -> tuple[float, float]:
        times = self._psutil.cpu_times()
        return sum(times) - times.idle, sum(times)

    def memory_bytes(self) -> tuple[int, int]:
        memory = self._psutil.virtual_memory()
        return memory.total, memory.available

    def own(self) -> tuple[int, int]:
        return self._process.memory_info().rss, self._process.num_threads()

    def disk_bytes(self) -> tuple[int, int]:
        disk = self._psutil.disk_io_counters()
        return disk.read_bytes, disk.write_bytes

    def network_bytes(self) -> tuple[int, int]:
        network = self._psutil.net_io_counters()
        return network.bytes_sent, network.bytes_recv


class Machine:
    """This machine and this process. Counters of bytes begin at zero when it is made.

    Args:
        readings: where they come from.
    """

    def __init__(self, readings: Readings | None = None) -> None:
        self._readings = readings or (proc if sys.platform == "linux" else Psutil())
        self._gpus = gpus()
        self._disk: tuple[float, ...] = ()
        self._network: tuple[float, ...] = ()
        self._ticks: tuple[float, ...] = ()
        with _missing:
            self._disk = self._readings.disk_bytes()
        with _missing:
            self._network = self._readings.network_bytes()
        with _missing:
            self._ticks = self._readings.cpu_ticks()
        self._used = time.process_time(), time.monotonic()

    def sample(self) -> Sample:
        """The values now, by metric key; those that cannot be had here are left out."""
        found: Sample = {}
        for part in (self._cpu, self._memory, self._own, self._storage, self._traffic, *self._gpus):
            with _missing:
                found.update(part())
        return {key: value for key, value in found.items() if math.isfinite(value)}

    def _cpu(self) -> Sample:
        found: Sample = {"system/load": os.getloadavg()[0]}
        with _missing:
            before, self._ticks = self._ticks, self._readings.cpu_ticks()
            busy, whole = (now - then for now, then in zip(self._ticks, before))
            found["system/cpu.percent"] = min(max(100 * busy / whole, 0.0), 100.0)
        return found

    def _memory(self) -> Sample:
        total, available = self._readings.memory_bytes()
        return {
            "system/memory.percent": 100 * (total - available) / total,
            "system/memory.used_mb": (total - available) / _MIB,
        }

    def _own(self) -> Sample:
        before, self._used = self._used, (time.process_time(), time.monotonic())
        used, passed = (now - then for now, then in zip(self._used, before))
        resident, threads = self._readings.own()
        return {
            "system/process.cpu.percent": 100 * used / passed,
            "system/process.rss_mb": resident / _MIB,
            "system/process.threads": threads,
        }

    def _storage(self) -> Sample:
        found: Sample = {}
        with _missing:
            disk = os.statvfs(".")
            used = disk.f_blocks - disk.f_bfree
            found["system/disk.percent"] = 100 * used / (used + disk.f_bavail)
        with _missing:
            read, written = (now - then for now, then in zip(self._readings.disk_bytes(), self._disk))
            found |= {"system/disk.read_mb": read / _MIB, "system/disk.write_mb": written / _MIB}
        return found

    def _traffic(self) -> Sample:
        sent, received = (now - then for now, then in zip(self._readings.network_bytes(), self._network))
        return {"system/network.sent_mb": sent / _MIB, "system/network.recv_mb": received / _MIB}


# -- GPUs -------------------------------------------------------------------------------------------------------------


def gpus() -> list[Callable[[], Sample]]:
    """A way to read each GPU of this machine; none when there are no GPUs, or nothing that can ask them."""
    for find in (_nvidia, _nvidia_smi):
        with _missing:
            if found := find():
                return found + _amd(len(found))
    return _amd(0)


def _nvidia() -> list[Callable[[], Sample]]:
    """NVIDIA GPUs through NVML. Raises when there is no driver or no ``pynvml``."""
    nvml = import_module("pynvml")
    nvml.nvmlInit()
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    return [partial(_read_nvml, nvml, index, handle) for index, handle in enumerate(handles)]


def _read_nvml(nvml: Any, index: int, handle: Any) -> Sample:
    found: Sample = {}
    prefix = f"system/gpu.{index}."
    with _missing:
        rates = nvml.nvmlDeviceGetUtilizationRates(handle)
        found |= {prefix + "util": rates.gpu, prefix + "mem_util": rates.memory}
    with _missing:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        found |= {prefix + "mem_used_mb": memory.used / _MIB, prefix + "mem_total_mb": memory.total / _MIB}
    with _missing:
        found[prefix + "temp_c"] = nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
    with _missing:
        found[prefix + "power_w"] = nvml.nvmlDeviceGetPowerUsage(handle) / 1000
    return found


_SMI_FIELDS = {
    "util": "utilization.gpu",
    "mem_util": "utilization.memory",
    "mem_used_mb": "memory.used",
    "mem_total_mb": "memory.total",
    "temp_c": "temperature.gpu",
    "power_w": "power.draw",
}
"""Our names, and those of ``nvidia-smi --query-gpu``; it says MiB, °C and W."""


def _nvidia_smi() -> list[Callable[[], Sample]]:
    """NVIDIA GPUs through their command line tool, all in one call. Raises when there is none or it fails."""
    # Not shutil.which(): loading shutil would take the interpreter for some milliseconds.
    paths = (Path(folder, "nvidia-smi") for folder in os.get_exec_path())
    program = next((str(path) for path in paths if os.access(path, os.X_OK)), None)
    return [partial(_read_smi, program)] if program is not None and _read_smi(program) else []


def _read_smi(program: str) -> Sample:
    load("subprocess")
    import subprocess  # most machines never need it

    command = [program, f"--query-gpu=index,{','.join(_SMI_FIELDS.values())}", "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_SECONDS, check=True).stdout
    found: Sample = {}
    for line in answer.splitlines():
        index, *cells = [cell.strip() for cell in line.split(",")]
        for name, cell in zip(_SMI_FIELDS, cells):
            with _missing:  # "[N/A]"
                found[f"system/gpu.{int(index)}.{name}"] = float(cell)
    return found


def _amd(first: int) -> list[Callable[[], Sample]]:
    """AMD GPUs through ``amdsmi``, numbered from ``first`` on."""
    with _missing:
        smi = import_module("amdsmi")
        smi.amdsmi_init()
        handles = smi.amdsmi_get_processor_handles()
        return [partial(_read_amd, smi, index, handle) for index, handle in enumerate(handles, first)]
    return []


def _read_amd(smi: Any, index: int, handle: Any) -> Sample:
    found: Sample = {}
    prefix = f"system/gpu.{index}."
    with _missing:
        activity = smi.amdsmi_get_gpu_activity(handle)
        found[prefix + "util"] = float(activity["gfx_activity"])
        found[prefix + "mem_util"] = float(activity["umc_activity"])
    with _missing:
        memory = smi.amdsmi_get_gpu_vram_usage(handle)
        found |= {
            prefix + "mem_used_mb": float(memory["vram_used"]),
            prefix + "mem_total_mb": float(memory["vram_total"]),
        }
    with _missing:
        sensor, now = smi.AmdSmiTemperatureType.EDGE, smi.AmdSmiTemperatureMetric.CURRENT
        found[prefix + "temp_c"] = float(smi.amdsmi_get_temp_metric(handle, sensor, now))
    with _missing:
        power = smi.amdsmi_get_power_info(handle)
        watts = [power.get(name) for name in ("current_socket_power", "average_socket_power")]
        found[prefix + "power_w"] = float(next(value for value in watts if isinstance(value, (int, float)) and value))
    return found
