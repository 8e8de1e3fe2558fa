"""What a Linux machine states of itself in /proc and /sys, and what fixes a lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.device.host_facts import caches, clocks, instruction_sets, memory, readable


@pytest.fixture
def machine(tmp_path) -> Path:
    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    write("proc/cpuinfo", "processor : 0\nFeatures : fp asimd asimddp i8mm\n")
    write("proc/meminfo", "MemTotal:  8000000 kB\nMemFree: 100000 kB\nMemAvailable: 5000000 kB\n")
    for index, kind, level, size in (
        (0, "Data", 1, "64K"),
        (1, "Instruction", 1, "64K"),
        (2, "Unified", 2, "512K"),
    ):
        for name, value in (("type", kind), ("level", level), ("size", size)):
            write(f"sys/devices/system/cpu/cpu0/cache/index{index}/{name}", f"{value}\n")
    write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "schedutil\n")
    return tmp_path


def test_a_machine_is_read_from_its_files(machine):
    assert instruction_sets(machine) == "asimd; int8 dot products: asimddp i8mm"
    assert caches(machine) == "L1 64K, L2 512K"
    assert memory(machine) == "5.0 of 8.0 GB available"
    assert "governor schedutil: clocks follow the load" in clocks(machine)


def test_what_is_missing_is_told_with_what_mends_it(machine):
    (machine / "proc/meminfo").write_text(
        "MemTotal: 8000000 kB\nMemAvailable: 90000 kB\nMemFree: 1 kB\n"
    )
    with pytest.raises(OSError, match="Next: close other programs"):
        memory(machine)
    (machine / "proc/cpuinfo").write_text("flags : fpu avx2\n")
    assert "none, int8 will gain little" in instruction_sets(machine)
    assert readable({"cpus": {}, "celsius": {}}) == (
        "frequencies cannot be read; temperatures cannot be read"
    )
