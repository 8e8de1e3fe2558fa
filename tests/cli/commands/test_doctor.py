"""``hwnas doctor`` of a device: how it is reached, and what fixes what is missing."""

from __future__ import annotations


def test_a_device_is_examined_by_the_way_that_reaches_it(hwnas, monkeypatch):
    here = hwnas("doctor", "--device", "host", "--json").json
    assert {check["check"] for check in here} == {
        "device file",
        "litert agent",
        "onnxruntime agent",
    }
    assert all(check["ok"] for check in here)
    assert all("temperatures" in check["says"] for check in here[1:])
    monkeypatch.setenv("PATH", "/nowhere")
    far = hwnas("doctor", "--device", "pixel-3", "--json")
    assert far.code == 1
    checks = {check["check"]: check for check in far.json}
    assert not checks["adb"]["ok"]
    assert "Next: install adb" in checks["adb"]["says"]
    assert not checks["litert agent"]["ok"]
    assert "Next:" in checks["litert agent"]["says"]
    unknown = hwnas("doctor", "--device", "../host")
    assert unknown.code == 1
    assert "there is no such device" in unknown.err
