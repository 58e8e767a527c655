"""What the machine and a process say about themselves: syncs a second, load, steal, CPU, memory."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

BLOCK = 4096
PREALLOCATED_BYTES = 64 * 1024 * 1024


def syncs_per_second(folder: Path, *, preallocated: bool, seconds: float = 1.0) -> float:
    """Return how often a 4 KiB write can be made durable here with fdatasync."""
    path = folder / "sync-probe"
    handle = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        if preallocated:
            # written, not only allocated: a sync of an unwritten extent changes metadata too
            for _ in range(PREALLOCATED_BYTES // (1 << 20)):
                os.write(handle, bytes(1 << 20))
            os.fsync(handle)
            os.lseek(handle, 0, os.SEEK_SET)
        block, count, started = b"\x5a" * BLOCK, 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds:
            if preallocated and count * BLOCK >= PREALLOCATED_BYTES:
                break
            os.write(handle, block)
            os.fdatasync(handle)
            count += 1
        return count / elapsed
    finally:
        os.close(handle)
        path.unlink()


@dataclass(frozen=True)
class Use:
    """CPU seconds and resident bytes of a process."""

    cpu_s: float
    rss_bytes: int


def use_of(pid: int) -> Use:
    """Read a process's CPU time and memory from /proc."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Use((int(stat[11]) + int(stat[12])) / ticks, pages * os.sysconf("SC_PAGE_SIZE"))


def peak_rss_bytes(pid: int) -> int:
    """Return the most memory a process ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def steal_and_total() -> tuple[int, int]:
    """Return the ticks the host took away and all ticks, since boot."""
    fields = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return fields[7], sum(fields[:8])


def describe() -> str:
    """Name processor, memory, kernel and Python."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{os.cpu_count()} cores, {model}, {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )
