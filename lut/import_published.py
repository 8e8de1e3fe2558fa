"""Import the published latency tables that come with the project.

    python lut/import_published.py FOLDER

``FOLDER`` holds the published files in the layout below. Each is read by the same importers as
``hwnas lut import``; the header of a table keeps the file's hash, its source and its licence.

    ofa-note10/{160,176,192,208,224}_lookup_table.yaml   Samsung Note10, Once-for-All
    proxylessnas-pixel1/mobile_trim.yaml                 Pixel 1, ProxylessNAS
    device-latency/fbnet.npz                             Pixel 3 and Raspberry Pi 4, HW-NAS-Bench
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwnas.latency.table.files import save_table
from hwnas.latency.table.published import import_tables, published_header, require_place
from hwnas.latency.table.sums import import_sums
from hwnas.latency.table.table import LatencyTable
from hwnas.space.catalogue import load_space

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Published:
    """Published files of one device, the space of their networks, and where they are from."""

    device: str
    table_format: str
    files: tuple[str, ...]
    space: str
    source: str
    license: str


PUBLISHED = (
    Published(
        "galaxy-note10",
        "ofa",
        tuple(f"ofa-note10/{size}_lookup_table.yaml" for size in (160, 176, 192, 208, 224)),
        "ofa-mbv3:width_mult=1.2",
        "Cai et al., Once-for-All, ICLR 2020; published by its authors (han-cai/files)",
        "no licence stated; published beside the MIT-licensed mit-han-lab/once-for-all",
    ),
    Published(
        "pixel-1",
        "proxyless",
        ("proxylessnas-pixel1/mobile_trim.yaml",),
        "proxyless",
        "Cai et al., ProxylessNAS, ICLR 2019; published by its authors (han-cai/files)",
        "no licence stated; published beside the MIT-licensed mit-han-lab/proxylessnas",
    ),
    Published(
        "pixel-3",
        "sums:pixel3",
        ("device-latency/fbnet.npz",),
        "fbnet-cifar",
        "Li et al., HW-NAS-Bench, ICLR 2021; sums of its table in HayeonLee/HELP, NeurIPS 2021",
        "MIT (HayeonLee/HELP)",
    ),
    Published(
        "raspberry-pi-4",
        "sums:raspi4",
        ("device-latency/fbnet.npz",),
        "fbnet-cifar",
        "Li et al., HW-NAS-Bench, ICLR 2021; sums of its table in HayeonLee/HELP, NeurIPS 2021",
        "MIT (HayeonLee/HELP)",
    ),
)


def write_sums(file: Path, device: str, space: str, out: Path) -> None:
    """Write the networks and latencies of one device of an ``.npz`` file as lines of sums."""
    data = np.load(file, allow_pickle=False)
    row = data["device"].tolist().index(device)
    archs = load_space(space).decode(data["arch"].astype(np.int16))
    lines = [
        json.dumps({"arch": arch.to_json(), "latency_ms": latency_ms})
        for arch, latency_ms in zip(archs, data["latency_ms"][row].tolist(), strict=True)
    ]
    out.write_text("\n".join(lines) + "\n")


def tables_of(published: Published, folder: Path) -> Sequence[LatencyTable]:
    """Return the tables of one device, with their source and licence in the headers."""
    header = published_header(published.device, "litert", "fp32", 1, None)
    files = [folder / name for name in published.files]
    kind, _, name = published.table_format.partition(":")
    if kind == "sums":
        with tempfile.TemporaryDirectory() as scratch:
            sums = Path(scratch) / f"{name}.jsonl"
            write_sums(files[0], name, published.space, sums)
            tables = [import_sums([sums], load_space(published.space), header)]
    else:
        tables = list(import_tables(files, kind, header))
    origin: Mapping[str, str] = {
        "source": published.source,
        "license": published.license,
        "space": published.space,
    }
    return [
        replace(
            table,
            header=table.header.model_copy(
                update={"provenance": {**table.header.provenance, **origin}}
            ),
        )
        for table in tables
    ]


def main(folder: Path) -> None:
    """Write the tables of every published device below ``lut/``."""
    for published in PUBLISHED:
        out = HERE / published.device
        for old in out.glob("*.json") if out.is_dir() else ():
            old.unlink()
        tables = tables_of(published, folder)
        for path, table in require_place(tables, out).items():
            save_table(table, path)
            print(f"{path.relative_to(HERE.parent)}: {len(table.entries)} rows")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
