"""How much memory a solve takes, and whether there is as much."""

from pathlib import Path

import torch

from ._panels import HEIGHT, WIDTH, panel_bytes


def factor_bytes(n: int, d: int, c: int, itemsize: int) -> int:
    """Return the bytes of a direct solve: half a kernel matrix, two copies of the inputs, rows.

    Args:
        n: Examples.
        d: Features.
        c: Targets of an example.
        itemsize: Bytes of an entry of the kernel matrix.
    """
    inputs = n * d * (8 + itemsize)
    vectors = 8 * n * c * 8
    blocks = 4 * HEIGHT * max(WIDTH, d) * 8
    return panel_bytes(n, itemsize) + inputs + vectors + blocks


def solve_bytes(n: int, d: int, c: int, *, itemsize: int = 4) -> tuple[int, int | None]:
    """Return what a direct solve on the CPU takes and what is free, None where not known."""
    return factor_bytes(n, d, c, itemsize), free_bytes(torch.device("cpu"))


def iteration_bytes(n: int, d: int, c: int, itemsize: int, rank: int) -> int:
    """Return the bytes of an iteration: `rank` columns twice, the inputs, some vectors."""
    columns = 2 * n * rank * itemsize + 3 * rank * rank * 8
    return columns + n * d * (8 + itemsize) + 12 * n * c * 8 + 4 * HEIGHT * max(HEIGHT, d) * 8


def free_bytes(device: torch.device) -> int | None:
    """Return the bytes that can still be taken, or None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [_available(), _left_in_group()]
    return min((f for f in found if f is not None), default=None)


def check_memory(needed: int, free: int | None, *, n: int, dtype: str, what: str) -> None:
    """Refuse, before anything is allocated, what would not fit.

    Raises:
        MemoryError: There is less.
    """
    if free is not None and needed > free:
        raise MemoryError(
            f"{what} for {n:,} examples must fit in memory and takes {gigabytes(needed)} in "
            f"{dtype}; got {gigabytes(free)} free. Take float32, a smaller rank with "
            "solver='iterative', or fewer examples."
        )


def gigabytes(count: int) -> str:
    """Return bytes as text in units of 10^9."""
    return f"{count / 1e9:.3g} GB"


def _available() -> int | None:
    path = Path("/proc/meminfo")
    if not path.exists():
        return None
    rows = dict(line.split(":", 1) for line in path.read_text(encoding="ascii").splitlines())
    return int(rows["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in rows else None


def _left_in_group() -> int | None:
    """Return what the control group of this machine or container leaves, if it has a limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = (group / "memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if limit == "max" else max(0, int(limit) - int(used))
