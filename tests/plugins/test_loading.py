"""Plugin files and installed packages: what is run, how often, and what a failure says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hwnas
from hwnas.errors import InputError
from hwnas.plugins.loading import load_plugin, loaded_files

REGISTER = """
from hwnas.plugins.registry import Entry
from tests_colours import COLOURS
COLOURS.register(Entry({name!r}, "{help}"))
"""


@pytest.fixture
def colours(tmp_path, monkeypatch):
    """A registry that plugin files reach by an import."""
    (tmp_path / "tests_colours.py").write_text(
        "from hwnas.plugins.registry import Entry, Registry\n"
        "COLOURS = Registry('colour')\n"
        "COLOURS.add(Entry('red', 'like blood'))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tests_colours", raising=False)
    from tests_colours import COLOURS

    return COLOURS


def test_a_file_is_run_once_and_again_after_a_change(tmp_path, colours):
    file = tmp_path / "blue.py"
    file.write_text(REGISTER.format(name="blue", help="like the sea"))
    origin = load_plugin(file)
    assert load_plugin(file) is origin
    assert colours.origin("blue") is origin
    assert origin in loaded_files()
    file.write_text(REGISTER.format(name="blue", help="like the sky"))
    changed = load_plugin(file)
    assert changed.content != origin.content
    assert colours["blue"].help == "like the sky"


def test_two_files_cannot_give_one_name(tmp_path, colours):
    for stem in ("one", "two"):
        (tmp_path / f"{stem}.py").write_text(REGISTER.format(name="pink", help="like a rose"))
    load_plugin(tmp_path / "one.py")
    with pytest.raises(InputError, match=r"two\.py(.|\n)*already, by plugin .*one"):
        load_plugin(tmp_path / "two.py")


def test_a_function_register_is_called_after_the_import(tmp_path, colours):
    file = tmp_path / "late.py"
    body = REGISTER.format(name="grey", help="like fog").strip().replace("\n", "\n    ")
    file.write_text(f"def register():\n    {body}\n")
    load_plugin(file)
    assert "grey" in colours


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("x = 1\n1 / 0\n", r"line 2 of bad\.py: ZeroDivisionError: division by zero"),
        ("def f(:\n", r"line 1: SyntaxError"),
        ("import no_such_module_here\n", "line 1 of bad.py: ModuleNotFoundError"),
    ],
)
def test_a_file_that_fails_is_an_error_that_names_the_line(tmp_path, content, said):
    file = tmp_path / "bad.py"
    file.write_text(content)
    with pytest.raises(InputError, match=said) as failed:
        load_plugin(file)
    assert str(file) in str(failed.value)


def test_what_is_no_python_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_plugin(tmp_path / "absent.py")
    with pytest.raises(InputError, match="is not a Python file"):
        load_plugin(tmp_path / "data.json")


def _installed(folder: Path, content: str) -> dict[str, str]:
    """Install a package of one module with an entry point; return the environment that has it."""
    (folder / "sea_plugin.py").write_text(content)
    info = folder / "sea_plugin-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sea-plugin\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[hwnas.plugins]\nsea = sea_plugin\n")
    paths = [str(folder), str(Path(hwnas.__file__).parents[1])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _run(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


COLOURS = (
    "from hwnas.plugins.registry import Entry, Registry\n"
    "import sys, types\n"
    "C = Registry('colour'); C.add(Entry('red', 'like blood'))\n"
    "module = types.ModuleType('tests_colours'); module.COLOURS = C\n"
    "sys.modules['tests_colours'] = module\n"
)


def test_installed_plugins_are_loaded_when_a_registry_is_listed(tmp_path):
    environment = _installed(tmp_path, REGISTER.format(name="blue", help="like the sea"))
    code = COLOURS + (
        "C['red']; assert 'sea_plugin' not in sys.modules\nprint(list(C), C.origin('blue'))\n"
    )
    done = _run(code, environment)
    assert done.stdout.strip() == "['red', 'blue'] plugin sea of sea-plugin 1.2", done.stderr


def test_an_installed_plugin_that_fails_is_named_each_time(tmp_path):
    environment = _installed(tmp_path, "import no_such_module_here\n")
    code = COLOURS + (
        "from hwnas.errors import InputError\n"
        "for _ in range(2):\n"
        "    try: list(C)\n"
        "    except InputError as error: print(error)\n"
    )
    done = _run(code, environment)
    assert done.stdout.count("plugin sea of sea-plugin 1.2: 1 problem") == 2, done.stderr
    assert "Next: update or remove sea-plugin 1.2" in done.stdout
    assert "no_such_module_here" in done.stdout
