"""Every public name has a docstring with an example, and every example runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import hwnas
import hwnas.api

MODULES = [
    importlib.import_module(name)
    for name in sorted(
        {f"hwnas.api.{module.name}" for module in pkgutil.iter_modules(hwnas.api.__path__)}
        | {"hwnas.io.progress", "hwnas.plot", "hwnas.plot.figures"}
    )
]
EXAMPLES = [
    test
    for module in MODULES
    for test in doctest.DocTestFinder(exclude_empty=True).find(module)
    if test.examples
]
# classes that a function makes; its example shows them
MADE_BY = {
    "Bundle": "export",
    "LatencyModel": "latency_model",
    "Network": "build",
    "Trial": "search",
}
ERRORS = {name for name in hwnas.__all__ if name.endswith("Error")}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_runs(example, shop):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    runner.run(example, out=report.append, clear_globs=False)
    assert runner.failures == 0, "".join(report)


def test_every_public_function_and_class_has_an_example():
    shown = {example.name.rsplit(".", 1)[-1] for example in EXAMPLES}
    skipped = {"Arch", "Choice", "__version__", *ERRORS}
    for name in set(hwnas.__all__) - skipped:
        if name.startswith("register_") or name == "load_plugin":
            continue  # what registers stays in this process; examples/plugins shows it
        assert MADE_BY.get(name, name) in shown, f"hwnas.{name} has no example"


def test_public_functions_say_what_they_raise():
    for name, home in hwnas._HOMES.items():
        value = getattr(importlib.import_module(home), name)
        if inspect.isfunction(value):
            assert name == "reporting" or "Raises:" in (inspect.getdoc(value) or ""), name
