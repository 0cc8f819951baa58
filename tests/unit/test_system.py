"""System metrics: what is sampled, how often, and that nothing of it reaches the training."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import rundial.system
from rundial import proc
from rundial.config import Settings
from rundial.events import Metrics
from rundial.system import Machine, Psutil, SystemMonitor, gpus
from rundial.testing import capture_run

SMI = """#!/bin/sh
echo "0, 35, 12, 1024, 24576, 61, 220.5"
echo "1, 0, [N/A], 1, 24576, 40, [Not Supported]"
"""
NVML = """
from types import SimpleNamespace
NVML_TEMPERATURE_GPU = 0
def nvmlInit(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUtilizationRates(handle): return SimpleNamespace(gpu=90, memory=30)
def nvmlDeviceGetMemoryInfo(handle): return SimpleNamespace(used=2**30, total=2**34)
def nvmlDeviceGetTemperature(handle, sensor): raise RuntimeError("Not Supported")
def nvmlDeviceGetPowerUsage(handle): return 150_000
"""
AMD = """
from types import SimpleNamespace
AmdSmiTemperatureType = SimpleNamespace(EDGE=1)
AmdSmiTemperatureMetric = SimpleNamespace(CURRENT=1)
def amdsmi_init(): pass
def amdsmi_get_processor_handles(): return ["a"]
def amdsmi_get_gpu_activity(handle): return {"gfx_activity": 70, "umc_activity": 20, "mm_activity": "N/A"}
def amdsmi_get_gpu_vram_usage(handle): return {"vram_used": 100, "vram_total": 16000}
def amdsmi_get_temp_metric(handle, sensor, metric): return 55
def amdsmi_get_power_info(handle): return {"current_socket_power": "N/A", "average_socket_power": 180}
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """The first sample comes at once, and the machine's own GPUs are left alone."""
    monkeypatch.setattr(rundial.system, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(rundial.system, "_SETTLE_SECONDS", 0.01)
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Puts a module of this name in the place of a driver's."""

    def make(name, code):
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, name, raising=False)

    yield make
    for name in ("pynvml", "amdsmi"):
        sys.modules.pop(name, None)


def wait_for(condition):
    """Until it holds; fails after ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def samples(server):
    """What was logged under system/."""
    return [event for event in server.events if isinstance(event, Metrics)]


def test_this_machine_is_sampled():
    """CPU, memory, this process, disk and network; the step is the Unix time in seconds."""
    with capture_run() as (run, server):
        monitor = SystemMonitor(run._pipeline, Settings(), None)
        monitor.start()
        wait_for(lambda: run.diagnostics().system_samples_collected)
        monitor.stop()
    (sample,) = samples(server)
    names = {key.removeprefix("system/") for key in sample.values}
    assert {"cpu.percent", "memory.percent", "memory.used_mb", "process.cpu.percent", "process.rss_mb"} <= names
    assert {"process.threads", "disk.percent", "load"} <= names
    assert sample.values["system/process.rss_mb"] > 5
    assert 0 <= sample.values["system/cpu.percent"] <= 100
    assert abs(sample.step - time.time()) < 60


def test_bytes_begin_at_zero(monkeypatch):
    """What was read, written, sent and received before the run is not the run's."""
    machine = Machine(Psutil())
    before, read = machine.sample(), machine._readings.network_bytes
    monkeypatch.setattr(machine._readings, "network_bytes", lambda: tuple(count + 3 * 2**20 for count in read()))

    after = machine.sample()

    assert before["system/network.sent_mb"] < 1
    assert after["system/network.sent_mb"] - before["system/network.sent_mb"] >= 3


def test_what_cannot_be_read_is_left_out(monkeypatch):
    """A container without counters of its disk still has its memory."""
    readings = Psutil()

    def refused(*arguments):
        raise PermissionError("not in here")

    monkeypatch.setattr(readings, "disk_bytes", refused)
    monkeypatch.setattr(readings, "cpu_ticks", refused)

    sample = Machine(readings).sample()

    assert {"system/memory.percent", "system/disk.percent", "system/load"} <= sample.keys()
    assert not {"system/disk.read_mb", "system/cpu.percent"} & sample.keys()


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_proc_says_what_psutil_says():
    """Two ways to ask one kernel; what changes meanwhile may differ a little."""
    psutil = Psutil()
    (ours, whole), (theirs, everything) = proc.memory_bytes(), psutil.memory_bytes()
    assert ours == theirs
    assert abs(whole - everything) < 200 * 2**20
    assert abs(proc.own()[0] - psutil.own()[0]) < 20 * 2**20
    assert proc.own()[1] == psutil.own()[1]
    for said, answer in ((proc.disk_bytes(), psutil.disk_bytes()), (proc.network_bytes(), psutil.network_bytes())):
        assert all(abs(one - other) <= 0.01 * other + 100 * 2**20 for one, other in zip(said, answer))
    before, machine = proc.cpu_ticks(), Machine()
    wait_for(lambda: sum(range(100_000)) and proc.cpu_ticks()[0] > before[0] + 10)
    assert 0 < machine.sample()["system/cpu.percent"] <= 100


def test_nothing_is_imported_for_a_sample():
    """An import in the background would keep the training from the interpreter."""
    code = """if True:
        import sys, rundial.system
        before = set(sys.modules)
        assert rundial.system.Machine().sample()
        print(sorted(set(sys.modules) - before))
    """
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PATH": ""})
    assert (answer.stdout.strip() == "[]") == (sys.platform == "linux")


def test_a_provider_takes_the_place_of_the_machine():
    """Its names get the prefix if they have none."""
    with capture_run() as (run, server):
        monitor = SystemMonitor(run._pipeline, Settings(), lambda: {"fan.rpm": 900, "system/water.temp_c": 31.5})
        monitor.start()
        wait_for(lambda: run.diagnostics().system_samples_collected)
        monitor.stop()
    assert samples(server)[0].values == {"system/fan.rpm": 900, "system/water.temp_c": 31.5}


@pytest.mark.parametrize("answer", [None, 3, {"fan": object()}, {}])
def test_a_provider_that_answers_nonsense(answer):
    """Nothing is logged, and training hears of it at most by a warning."""
    asked = []
    with capture_run() as (run, server):
        monitor = SystemMonitor(run._pipeline, Settings(), lambda: asked.append(1) or answer)
        monitor._interval = 0.01
        if answer is None or answer == 3:
            with pytest.warns(RuntimeWarning, match="a sample of system metrics failed") as warned:
                monitor._sample(monitor._provider)
                monitor._sample(monitor._provider)
            assert len(warned) == 1
        else:
            monitor._sample(monitor._provider)
    assert asked
    assert samples(server) == []


def test_a_failing_provider_is_one_warning():
    """However often it fails, and it is asked again."""
    calls = []

    def provider():
        calls.append(1)
        if len(calls) < 3:
            raise OSError("sensor gone")
        return {"fan": 1}

    with capture_run() as (run, server):
        monitor = SystemMonitor(run._pipeline, Settings(), provider)
        with pytest.warns(RuntimeWarning, match="sensor gone") as warned:
            for _ in range(3):
                monitor._sample(provider)
    assert (len(warned), [sample.values for sample in samples(server)]) == (1, [{"system/fan": 1}])


def test_a_short_interval_is_raised_with_a_warning():
    """Two seconds is the least."""
    with capture_run() as (run, _), pytest.warns(RuntimeWarning, match="every 2 s"):
        monitor = SystemMonitor(run._pipeline, Settings(system_metrics_interval_seconds=0.1), dict)
        monitor.start()
        monitor.stop()
    assert monitor._interval == 2.0


def test_a_full_queue_skips_and_counts():
    """The queue is for the training's own values first."""
    with capture_run(queue_bytes=64 * 1024, mode="offline") as (run, _):
        monitor = SystemMonitor(run._pipeline, run._settings, lambda: {"fan": 1})
        with run._pipeline.worker._lock:  # nobody empties the queue
            while run._pipeline.queue.bytes_held <= monitor._most_bytes:
                assert run.log({"loss": 0.5, "note": "x" * 500})
            monitor._sample(monitor._provider)
        account = run.diagnostics()
    assert (account.system_samples_skipped_backpressure, account.system_samples_collected) == (1, 0)


def test_stop_returns_at_once_and_nothing_follows():
    """Also while a provider is busy."""
    entered, release = threading.Event(), threading.Event()

    def provider():
        entered.set()
        release.wait(10)
        return {"fan": 1}

    with capture_run() as (run, server):
        monitor = SystemMonitor(run._pipeline, Settings(), provider)
        monitor.start()
        assert entered.wait(10)
        monitor.stop()
        release.set()
    (thread,) = [t for t in threading.enumerate() if t.name == "rundial-system"] or [None]
    if thread is not None:
        thread.join(10)
    assert samples(server) == []


# -- GPUs -------------------------------------------------------------------------------------------------------------


def read(found):
    """All readings together."""
    sample = {}
    for one in found:
        sample |= one()
    return sample


def test_no_gpu_is_no_values(module):
    """Neither library nor tool: nothing, and no complaint."""
    module("pynvml", "raise ImportError('no driver')")
    module("amdsmi", "raise ImportError('no driver')")
    assert gpus() == []


def test_nvidia_through_nvml(module):
    """What one card does not tell is left out."""
    module("pynvml", NVML)
    assert read(gpus()) == {
        "system/gpu.0.util": 90,
        "system/gpu.0.mem_util": 30,
        "system/gpu.0.mem_used_mb": 1024,
        "system/gpu.0.mem_total_mb": 16384,
        "system/gpu.0.power_w": 150,
    }


def test_nvidia_through_its_tool(module, tmp_path, monkeypatch):
    """Without NVML, all cards by one call of nvidia-smi."""
    module("pynvml", "raise ImportError('not installed')")
    tool = Path(tmp_path / "nvidia-smi")
    tool.write_text(SMI)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    (one,) = gpus()

    assert one() == {
        "system/gpu.0.util": 35,
        "system/gpu.0.mem_util": 12,
        "system/gpu.0.mem_used_mb": 1024,
        "system/gpu.0.mem_total_mb": 24576,
        "system/gpu.0.temp_c": 61,
        "system/gpu.0.power_w": 220.5,
        "system/gpu.1.util": 0,
        "system/gpu.1.mem_used_mb": 1,
        "system/gpu.1.mem_total_mb": 24576,
        "system/gpu.1.temp_c": 40,
    }


def test_amd_through_its_library(module):
    """The same names, numbered behind those of NVIDIA."""
    module("pynvml", NVML)
    module("amdsmi", AMD)
    sample = read(gpus())
    assert {key: value for key, value in sample.items() if ".1." in key} == {
        "system/gpu.1.util": 70,
        "system/gpu.1.mem_util": 20,
        "system/gpu.1.mem_used_mb": 100,
        "system/gpu.1.mem_total_mb": 16000,
        "system/gpu.1.temp_c": 55,
        "system/gpu.1.power_w": 180,
    }
