"""The device files that come with hwnas: each loads and is consistent with itself."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml

from hwnas.device.device import Device, cpu_numbers, load_device

FILES = sorted((Path(__file__).parents[2] / "devices").glob("*.yaml"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def device(path: Path) -> Device:
    return load_device(str(path))


def test_the_file_is_named_as_the_device(path, device):
    assert device.name == path.stem


def test_only_hosts_count_as_tested_and_the_others_say_so(path, device):
    assert device.tested == (device.name in ("host", "x86-64-vm"))
    assert path.read_text().startswith("# Not run on") != device.tested


def test_the_clusters_are_disjoint_and_number_the_cpus_without_a_gap(device):
    cpus = [cpu for cluster in device.cores for cpu in cpu_numbers(cluster.cpus)]
    assert sorted(cpus) == list(range(len(cpus)))
    assert len({cluster.name for cluster in device.cores}) == len(device.cores)


def test_pinned_threads_run_within_one_cluster_with_a_core_each(device):
    for settings in device.runtimes.values():
        if settings.affinity is None:
            continue
        pinned = set(cpu_numbers(settings.affinity))
        assert len(pinned) >= settings.threads
        assert any(pinned <= set(cpu_numbers(c.cpus)) for c in device.cores)


def test_a_device_with_cores_of_several_kinds_is_pinned_to_none_of_the_slowest(device):
    if len(device.cores) < 2:
        return
    slowest = min(device.cores, key=lambda cluster: cluster.max_mhz)
    for settings in device.runtimes.values():
        assert settings.affinity is not None
        assert not set(cpu_numbers(settings.affinity)) & set(cpu_numbers(slowest.cpus))


def test_the_file_holds_no_host_serial_or_secret(path):
    def keys(value: object) -> list[str]:
        if isinstance(value, dict):
            nested = itertools.chain.from_iterable(map(keys, value.values()))
            return [*map(str, value), *nested]
        return [key for item in value for key in keys(item)] if isinstance(value, list) else []

    assert not {"host", "serial", "user", "password", "port"} & set(
        keys(yaml.safe_load(path.read_text()))
    )


def test_there_are_devices_of_every_transport():
    assert {load_device(str(path)).transport for path in FILES} == {"local", "ssh", "adb"}
