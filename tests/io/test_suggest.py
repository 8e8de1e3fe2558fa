from __future__ import annotations

import shlex

from hwnas.io.suggest import command


def test_a_command_is_complete_and_quoted():
    made = command(
        "lut check",
        "my table.json",
        device="host",
        spread=1.5,
        update=True,
        anchors=None,
        as_=False,
    )
    assert made == "hwnas lut check 'my table.json' --device host --spread 1.5 --update"
    assert shlex.split(command("predict", lut="a;b", space="tiny"))[2:] == [
        "--lut",
        "a;b",
        "--space",
        "tiny",
    ]
