"""The conformance suites run over what plugins register."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMES = ("operation", "space", "strategy")
SUITES = ("test_search_space.py", "test_searcher.py", "test_operation.py")


def test_the_examples_pass_the_suites():
    plugins = [str(ROOT / "examples" / "plugins" / f"{name}.py") for name in NAMES]
    environment = {**os.environ, "HWNAS_TEST_PLUGINS": os.pathsep.join(plugins)}
    suites = [str(ROOT / "tests" / "conformance" / suite) for suite in SUITES]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, "-k", "resnet-like or annealing-tiny or ghost", *suites],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
