"""How much memory is left."""

from pathlib import Path


def free_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that the machine and the control group of this process (a container, a cluster job) have left."""
    free = [float("inf")]
    try:
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free.append(1024 * int(line.split()[1]))
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers in ("", "memory"):
                free += _left_in_groups(groups / controllers, group, v2=controllers == "")
    except (OSError, ValueError):  # not Linux, or hidden from us
        pass
    return max(min(free), 0)


def _left_in_groups(root: Path, group: str, v2: bool) -> list[int]:
    """What is left in a control group and in those around it, files that the system may drop being free."""
    limit, usage, files = ("memory.max", "memory.current", "inactive_file")
    if not v2:
        limit, usage, files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    found = []
    inner = root / group.strip("/")
    for folder in (inner, *inner.parents):
        try:  # a group without a limit has "max"
            left = int((folder / limit).read_text()) - int((folder / usage).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            found.append(left + int(stat[files]))
        except (OSError, ValueError, KeyError):
            continue
    return found
