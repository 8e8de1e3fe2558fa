"""Each package of an extra is known by its module, and its absence names what to install."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import hwnas
from hwnas.io.installed import EXTRAS, missing_package, names_missing_packages

tomllib = pytest.importorskip("tomllib", reason="a module of Python 3.11 and newer")
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
MODULES = {"scikit-learn": "sklearn", "pillow": "PIL"}  # where the module is called otherwise


def packages(extra: str) -> set[str]:
    """The modules of the packages that an extra of pyproject.toml lists itself."""
    names = {
        re.split(r"[<>=\[]", line)[0].strip() for line in PROJECT["optional-dependencies"][extra]
    }
    return {MODULES.get(name, name.replace("-", "_")) for name in names - {"hwnas"}}


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_knows_the_packages_that_it_installs(extra: str) -> None:
    assert packages(extra) <= set(EXTRAS[extra])
    assert set(EXTRAS[extra]) - packages(extra) <= {"tflite_runtime"}  # the older LiteRT


def test_what_every_command_needs_holds_no_package_of_an_extra() -> None:
    base = {re.split(r"[<>=]", line)[0].replace("-", "_") for line in PROJECT["dependencies"]}
    assert not base & {module for modules in EXTRAS.values() for module in modules}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ModuleNotFoundError(name="torch.nn"), "package torch, .* Next: pip install 'hwnas.all.'$"),
        (ModuleNotFoundError(name="scipy"), "pip install 'hwnas.predict.', or 'hwnas.all.'"),
        (PackageNotFoundError("ai-edge-quantizer"), "package ai_edge_quantizer"),
    ],
)
def test_an_absent_package_names_its_extra(error: ImportError, says: str) -> None:
    told = missing_package(error)
    assert re.search(says, str(told))
    assert isinstance(told, ImportError)
    assert isinstance(told, hwnas.HwnasError)


def test_a_module_of_nobodys_extra_is_left_to_python() -> None:
    assert missing_package(ModuleNotFoundError(name="my_module")) is None
    assert missing_package(ImportError("cannot import name")) is None

    @names_missing_packages
    def use(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    with pytest.raises(ModuleNotFoundError):
        use("my_module")
    with pytest.raises(hwnas.MissingPackageError, match="package torch"):
        use("torch")
