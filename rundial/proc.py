"""What Linux says of the machine and of this process, read from /proc (proc(5)).

psutil would say the same; loading it in the background keeps the training from the interpreter for some 20 ms.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

_SECTOR_BYTES = 512  # of /proc/diskstats, whatever the disk's own are
_PIECE_BYTES = 64 * 1024


def cpu_ticks() -> tuple[float, float]:
    """Time that all cores were busy since the machine started, and time altogether, in ticks."""
    # user nice system idle iowait irq softirq steal, and guests, which are in user and nice already
    ticks = [int(word) for word in _read("/proc/stat").split(b"\n", 1)[0].split()[1:9]]
    return sum(ticks) - sum(ticks[3:5]), sum(ticks)


def memory_bytes() -> tuple[int, int]:
    """Memory of the machine, and what of it a program could still have."""
    sizes = {line.partition(b":")[0]: line.split()[1] for line in _read("/proc/meminfo").splitlines()}
    return 1024 * int(sizes[b"MemTotal"]), 1024 * int(sizes[b"MemAvailable"])


def own() -> tuple[int, int]:
    """Resident bytes of this process, and its threads."""
    fields = _read("/proc/self/stat").rpartition(b")")[2].split()  # from the third on: the second may hold anything
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), int(fields[17])


def disk_bytes() -> tuple[int, int]:
    """Bytes that all disks have read and written since the machine started."""
    rows = [line.split() for line in _read("/proc/diskstats").splitlines()]
    disks = [row for row in rows if row[2] in _disks()]
    return _SECTOR_BYTES * sum(int(row[5]) for row in disks), _SECTOR_BYTES * sum(int(row[9]) for row in disks)


def network_bytes() -> tuple[int, int]:
    """Bytes that all interfaces have sent and received since the machine started."""
    rows = [line.partition(b":")[2].split() for line in _read("/proc/net/dev").splitlines()[2:]]
    return sum(int(row[8]) for row in rows), sum(int(row[0]) for row in rows)


@cache
def _disks() -> frozenset[bytes]:
    """Names of whole disks: partitions are counted in them."""
    return frozenset(path.name.replace("!", "/").encode() for path in Path("/sys/block").iterdir())


def _read(path: str) -> bytes:
    # Not open(): each call of the system hands the interpreter over, and this one makes three, not seven.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = [os.read(fd, _PIECE_BYTES)]
        while len(pieces[-1]) > _PIECE_BYTES // 2:
            pieces.append(os.read(fd, _PIECE_BYTES))
        return b"".join(pieces)
    finally:
        os.close(fd)
