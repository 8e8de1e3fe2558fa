"""What a Linux machine says of itself in /proc and /sys; every path is below ``root``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

MIN_MEMORY_KB = 2_000_000
# flags of /proc/cpuinfo that decide how fast float32 and int8 convolutions are
WIDTHS = ("neon", "asimd", "sse4_2", "avx2", "avx512f", "sve")
INT8 = ("asimddp", "i8mm", "avx_vnni", "avx512_vnni", "amx_int8")


def instruction_sets(root: Path) -> str:
    """Return the vector and int8 instructions of the CPU; OSError where it does not tell them."""
    flags: set[str] = set()
    for line in (root / "proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags |= set(value.split())
    if not flags:
        raise OSError("/proc/cpuinfo lists no flags")
    vectors = [name for name in WIDTHS if name in flags]
    int8 = [name for name in INT8 if name in flags]
    return (
        f"{' '.join(vectors) or 'no vector set known here'}; int8 dot products: "
        f"{' '.join(int8) or 'none, int8 will gain little'}"
    )


def caches(root: Path) -> str:
    """Return the sizes of the first CPU's caches."""
    found = []
    for folder in sorted(root.glob("sys/devices/system/cpu/cpu0/cache/index*")):
        kind, level, size = (
            (folder / name).read_text().strip() for name in ("type", "level", "size")
        )
        if kind != "Instruction":
            found.append(f"L{level} {size}")
    return ", ".join(found) or "sizes are not told by this machine"


def memory(root: Path) -> str:
    """Return the memory that is available; OSError where it is too little for a training."""
    sizes = {}
    for line in (root / "proc/meminfo").read_text().splitlines():
        key, _, value = line.partition(":")
        sizes[key] = int(value.split()[0])
    available = sizes.get("MemAvailable", sizes["MemFree"])
    if available < MIN_MEMORY_KB:
        raise OSError(
            f"{available / 1e6:.1f} GB of memory are available, trainings and "
            f"conversions need {MIN_MEMORY_KB / 1e6:.0f}. Next: close other programs, "
            "or lower --workers"
        )
    return f"{available / 1e6:.1f} of {sizes['MemTotal'] / 1e6:.1f} GB available"


def clocks(root: Path) -> str:
    """Return the governors of the CPUs, and what to do where they let the clock wander."""
    governors = sorted(
        {
            path.read_text().strip()
            for path in root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
        }
    )
    if not governors:
        return "frequencies and governors cannot be read here (usual in virtual machines)"
    if governors == ["performance"]:
        return "governor performance"
    return (
        f"governor {', '.join(governors)}: clocks follow the load. Steadier: sudo cpupower "
        "frequency-set -g performance"
    )


FACTS: Sequence[tuple[str, Callable[[Path], str]]] = (
    ("instructions", instruction_sets),
    ("caches", caches),
    ("memory", memory),
    ("clocks", clocks),
)


def readable(state: Mapping[str, Any]) -> str:
    """Return which parts of an agent's state the device lets it read."""
    cpus = state.get("cpus") or {}
    governors = sorted({str(cpu.get("governor")) for cpu in cpus.values()})
    said = [
        f"governor {', '.join(governors)}" if cpus else "frequencies cannot be read",
        "temperatures can be read" if state.get("celsius") else "temperatures cannot be read",
    ]
    return "; ".join(said)
