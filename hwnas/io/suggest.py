"""Commands that messages suggest: complete, quoted for a shell, with the values of the case."""

from __future__ import annotations

import shlex

Value = str | int | float | bool | None


def command(verb: str, *arguments: object, **options: Value) -> str:
    """Return ``hwnas VERB ARGUMENTS --option value``, to be pasted into a shell.

    Options that are None or False are left out, True stands for a switch, ``_`` in a name for
    ``-``. A value that only the reader knows is a word in capitals: ``out="TABLE"``.
    """
    words = ["hwnas", *verb.split(), *(str(argument) for argument in arguments)]
    for name, value in options.items():
        if value is None or value is False:
            continue
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words.append(f"{value:g}" if isinstance(value, float) else str(value))
    return shlex.join(words)
