"""``hwnas devices``."""

from __future__ import annotations

import logging

from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json, print_table
from hwnas.cli.verbs import verb

logger = logging.getLogger(__name__)


@verb("hwnas devices")
def devices(as_json: AsJson = False) -> None:
    """List the devices that hwnas knows."""
    from hwnas.device.device import devices_folder, list_devices

    found = list_devices()
    if as_json:
        print_json([device.model_dump(by_alias=True) for device in found])
        return
    rows = [
        [
            d.name,
            d.transport,
            ",".join(d.runtimes),
            "tested" if d.tested else "untested",
            d.description,
        ]
        for d in found
    ]
    print_table(["device", "transport", "runtimes", "state", "description"], rows)
    logger.info(
        f"Device files: {devices_folder()}; copy one and give its path for a device of your own."
    )
