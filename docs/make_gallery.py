"""Copy the figures of a run's report into the gallery: ``python docs/make_gallery.py runs/demo``.

The figures are the report's own, drawn from the run folder; ``make demo`` makes such a run.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
TITLES = {
    "accuracy-latency": "Accuracy and latency of finalists, random networks and baselines",
    "search-curves": "Search: loss, and expected and most probable latency against the budget",
    "gates": "Probabilities of the options in each layer over the search",
    "predicted-measured": "Predicted and measured latency of whole networks",
    "space-distribution": "Latencies of the networks of the space, and the budget",
    "time-per-operation": "Where the time of the winner goes",
    "network": "The winner, layer by layer",
}


def main(run: Path) -> None:
    """Copy every figure of the run and write the gallery's page."""
    images = HERE / "images"
    images.mkdir(exist_ok=True)
    lines = [
        "# Gallery",
        "",
        "Figures of the demo's report (`make demo`), copied by `docs/make_gallery.py`. Functions "
        "of `hwnas.plot` draw the same figures from Python.",
        "",
    ]
    for figure in sorted((run / "figures").glob("*.svg")):
        shutil.copy(figure, images / figure.name)
        title = TITLES.get(figure.stem, figure.stem.replace("-", " ").capitalize())
        lines += [f"## {title}", "", f"![{title}](images/{figure.name})", ""]
    (HERE / "gallery.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
