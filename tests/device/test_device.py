"""Device files and CPU lists: what is accepted, and all that is wrong at once."""

from __future__ import annotations

import pytest

from hwnas.device.device import (
    TimingProtocol,
    cpu_list,
    cpu_numbers,
    list_devices,
    load_device,
)
from hwnas.device.runtimes import RUNTIMES, usual_runtimes
from hwnas.errors import InputError
from hwnas.export.formats import FORMATS


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("4", [4]), ("4-7", [4, 5, 6, 7]), ("0,2-3", [0, 2, 3]), ("5,4-5", [4, 5]), ("3-3", [3])],
)
def test_cpu_lists_are_read_as_the_kernel_writes_them(text, numbers):
    assert cpu_list(text) == text
    assert cpu_numbers(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "4-", "-4", "1,,2", "1, 2", "4-7\n", "7-4", "0,7-4"])
def test_what_is_no_cpu_list_is_refused(text):
    with pytest.raises(ValueError, match="must be a CPU list such as 4-7 or 0,2"):
        cpu_list(text)


def test_a_device_file_lists_all_its_problems_at_once(device_file, tmp_path):
    text = device_file.read_text()
    broken = text.replace("name: desk", "name: My Desk").replace(
        "transport: local", "transport: pigeon"
    )
    broken = broken.replace("threads: 1, affinity: null", "threads: 0, affinity: 7-4", 1)
    path = tmp_path / "broken.yaml"
    path.write_text(broken.replace("rounds: 4", "rounds: 1") + "host: secret.example.org\n")
    with pytest.raises(InputError) as caught:
        load_device(str(path))
    found = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 6
    for place in (
        "name:",
        "transport:",
        "runtimes.onnxruntime.threads:",
        "runtimes.onnxruntime.affinity:",
        "protocol.rounds:",
        "host: unknown key",
    ):
        assert place in found


def test_a_device_file_without_a_protocol_gets_the_usual_one(device_file, tmp_path):
    lines = device_file.read_text().splitlines(keepends=True)
    path = tmp_path / "plain.yaml"
    path.write_text("".join(line for line in lines if not line.startswith("protocol")))
    assert load_device(str(path)).protocol == TimingProtocol()


def test_every_load_of_a_model_needs_a_round(device_file, tmp_path):
    path = tmp_path / "loads.yaml"
    path.write_text(device_file.read_text().replace("rounds: 4", "rounds: 4, reloads: 5"))
    with pytest.raises(InputError, match=r"reloads \(5\) must not be more than rounds \(4\)"):
        load_device(str(path))
    path.write_text(device_file.read_text().replace("rounds: 4", "rounds: 4, reloads: 4"))
    assert load_device(str(path)).protocol.reloads == 4


def test_the_old_name_of_reloads_is_read_with_a_warning(device_file, tmp_path, caplog):
    path = tmp_path / "old.yaml"
    path.write_text(device_file.read_text().replace("rounds: 4", "rounds: 4, loads: 2"))
    assert load_device(str(path)).protocol.reloads == 2
    assert "loads is called reloads now" in caplog.text
    path.write_text(device_file.read_text().replace("rounds: 4", "rounds: 4, loads: 2, reloads: 2"))
    with pytest.raises(InputError, match="both given; keep reloads"):
        load_device(str(path))


def test_an_unknown_device_names_those_that_are_known():
    with pytest.raises(InputError, match=r"(?s)known: .*host.*Next: .*path of a device"):
        load_device("no-such-phone")
    with pytest.raises(InputError, match="there is no such device"):
        load_device("../devices/host")  # a name, not a path
    with pytest.raises(InputError, match="there is no such file"):
        load_device("no-such-phone.yaml")


def test_devices_are_listed_by_name_and_found_by_it():
    devices = list_devices()
    assert [d.name for d in devices] == sorted(d.name for d in devices)
    assert load_device("host") in devices


def test_every_runtime_has_a_format_and_a_layout():
    for runtime in RUNTIMES.values():
        assert runtime.layout in FORMATS[runtime.format].layouts
    assert usual_runtimes() == {"tflite": "litert", "onnx": "onnxruntime"}
