"""What processes take of the machine, from Linux's /proc: CPU, memory, and the ports that they talk from."""

import os
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
LOCAL_ADDRESS, INODE = 1, 9
"""Fields of a line of /proc/net/tcp."""


def cpu_s(pid: int, *, with_ended_children: bool = False) -> float:
    """CPU seconds that a process has used, all its threads together, to 10 ms."""
    of_name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    assert of_name
    user, system, of_children_user, of_children_system = map(int, rest.split()[11:15])
    ticks = user + system
    if with_ended_children:
        ticks += of_children_user + of_children_system
    return ticks / TICKS_A_SECOND


def thread_cpu_us(pid: int) -> float:
    """CPU microseconds that the first thread of a process has used, exact while it waits.

    A backend has one thread; what parallel workers do for it is theirs.
    """
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1000


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def memory_mb(pid: int) -> float:
    """The memory of a process in MB (10^6 bytes), where a page that n processes share counts 1/n (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"no Pss of {pid}")


def local_ports(pid: int) -> set[int]:
    """The TCP ports (IPv4) of this machine that a process has a socket at."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        target = descriptor.readlink().name
        if target.startswith("socket:["):
            inodes.add(target[len("socket:[") : -1])
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return {int(each[LOCAL_ADDRESS].split(":")[1], 16) for each in fields if each[INODE] in inodes}


def machine_idle_s() -> float:
    """Seconds that all cores together were idle since the machine began, waits for the disk included."""
    idle, waiting = map(int, Path("/proc/stat").read_text().split()[4:6])
    return (idle + waiting) / TICKS_A_SECOND
