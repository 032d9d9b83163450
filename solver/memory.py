"""How much memory there is, and how much this process takes of it."""

import os
import re
import sys
from contextlib import suppress
from pathlib import Path

# Of a control group's controller, which is a folder: the files that tell what it allows and what is used, and how a
# count begins that has in it what the groups within use.
_LIMITS = (
    ("", "memory.max", "memory.current", ""),
    ("", "memory.high", "memory.current", ""),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)


def available() -> float:
    """Bytes that can still be allocated: what the system calls available, and a container leaves."""
    try:
        told = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        return min(int(told[1]) * 1024, _left_to_container())
    except (OSError, TypeError):  # not Linux: half of what is built in
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def resident() -> int:
    """Bytes of memory that this process takes now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: the most it has taken so far
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _left_to_container() -> float:
    """What control groups leave of the memory they allow (Docker, systemd and the like), or infinity.

    Each is in another one, and all of them count (the kernel's admin-guide; of groups there are two versions). Of the
    files that they keep in memory, those not in use make room when something else wants it.
    """
    return min(_left(group, *names) for controller, *names in _LIMITS for group in _groups(controller))


def _groups(controller: str) -> list[Path]:
    """The folders of this process's control group and of those around it, as far as they are seen here."""
    root, own = Path("/sys/fs/cgroup") / controller, ""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                own = path.strip("/")
    return [root / own, *(root / own).parents[: own.count("/") + bool(own)]]


def _left(group: Path, most: str, used: str, prefix: str) -> float:
    """What a group leaves, by the names of its files."""
    try:
        cached = re.search(rf"^{prefix}inactive_file (\d+)$", (group / "memory.stat").read_text(), re.M)
        used = int((group / used).read_text()) - int(cached[1] if cached else 0)
        return int((group / most).read_text()) - used
    except (OSError, ValueError):
        return float("inf")
