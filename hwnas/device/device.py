"""Device files: what a target is, how it is reached, which runtimes it has, how it is timed."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hwnas.device.runtimes import Runtime
from hwnas.device.transports import Transport
from hwnas.errors import InputError
from hwnas.io.schemas import FileSchema, load_model

logger = logging.getLogger(__name__)

DEVICE_NAME = r"[a-z0-9][a-z0-9.-]{0,40}"
# numbers of four digits at most: a range is written out
_CPU_LIST = re.compile(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?){0,63}", re.ASCII)


def cpu_numbers(text: str) -> list[int]:
    """Return the CPUs of a list such as ``4-7`` or ``0,2-3``."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return sorted(numbers)


def cpu_list(text: str) -> str:
    """Return ``text`` if it is a CPU list; ValueError states the rule otherwise."""
    if not _CPU_LIST.fullmatch(text) or not all(map(cpu_numbers, text.split(","))):
        raise ValueError("must be a CPU list such as 4-7 or 0,2, ranges going up")
    return text


def _check_cpu_list(text: str | None) -> str | None:
    return None if text is None else cpu_list(text)


class Cluster(FileSchema):
    """Cores of one kind."""

    name: str
    cpus: str
    max_mhz: Annotated[int, Field(gt=0)]

    _cpus = field_validator("cpus")(_check_cpu_list)


class RuntimeSettings(FileSchema):
    """How models run in one runtime."""

    threads: Annotated[int, Field(ge=1, le=64)] = 1
    affinity: str | None = None

    _affinity = field_validator("affinity")(_check_cpu_list)


class TimingProtocol(FileSchema):
    """How models are timed.

    Every model is timed once a round, in a new random order each round. Such a repetition is
    ``warmup_runs`` untimed runs, then timed runs until there are ``min_runs`` of them and
    ``min_visit_ms`` have passed.

    ``reloads``: how many times each model is loaded; the rounds are shared among the reloads, one
    after the other. The place of a model in memory decides part of its latency.

    ``flush_mb``: how much other data is read before each timed run of an operation (never of a
    network), and then the operation's inputs. In a network the weights of other operations pass
    through the caches; an operation timed alone finds its weights where no network leaves them.
    Scratch memory is evicted as well; with several threads only the caches of the first thread's
    core are. The time of reading counts to ``min_visit_ms``, so small operations have ``min_runs``
    runs a repetition. 0 disables flushing. ``benchmarks/latency/flush_sizes.py`` finds the size
    for a device.

    ``spread_s``: a benchmark and ``lut check`` measure for at least this many seconds, in more
    rounds. A clock that other work heats, or a neighbour, wanders for tens of seconds, and short
    measurements see one of its states. Measurements of fewer rounds than ``rounds`` take
    proportionally less time.
    """

    rounds: Annotated[int, Field(ge=2, le=1000)] = 12
    min_runs: Annotated[int, Field(ge=1, le=1000)] = 3
    min_visit_ms: Annotated[float, Field(ge=0, le=10_000)] = 4.0
    warmup_runs: Annotated[int, Field(ge=0, le=1000)] = 1
    cooldown_s: Annotated[float, Field(ge=0, le=600)] = 0.0
    reloads: Annotated[int, Field(ge=1, le=100)] = 1
    flush_mb: Annotated[float, Field(ge=0, le=1024)] = 0.0
    spread_s: Annotated[float, Field(ge=0, le=86_400)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, content: Any) -> Any:
        if not isinstance(content, dict) or "loads" not in content:
            return content
        logger.warning(
            "the protocol's loads is called reloads now; the old name is read for one version"
        )
        if "reloads" in content:
            raise ValueError("reloads and its old name loads are both given; keep reloads")
        return {"reloads" if key == "loads" else key: value for key, value in content.items()}

    @model_validator(mode="after")
    def _every_reload_has_rounds(self) -> TimingProtocol:
        if self.reloads > self.rounds:
            raise ValueError(
                f"reloads ({self.reloads}) must not be more than rounds ({self.rounds})"
            )
        return self

    def over(self, spread_s: float) -> TimingProtocol:
        """Return this protocol, measuring for at least ``spread_s`` seconds or its own."""
        return self.model_copy(update={"spread_s": max(spread_s, self.spread_s)})

    def times(self, count: int) -> TimingProtocol:
        """Return this protocol with ``count`` times the rounds and reloads, in the same time."""
        return self.model_copy(
            update={"rounds": count * self.rounds, "reloads": count * self.reloads}
        )


class Device(FileSchema):
    """A target; no hosts, serials or secrets, which come from options or the environment."""

    schema_: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(pattern=f"^{DEVICE_NAME}$")]
    description: str
    transport: Transport
    tested: bool
    abi: Literal["x86_64", "aarch64", "armv7l", "any"]
    cores: tuple[Cluster, ...] = ()
    runtimes: dict[Runtime, RuntimeSettings]
    protocol: TimingProtocol = TimingProtocol()
    notes: tuple[str, ...] = ()


def devices_folder() -> Path:
    """Return the folder of the device files that come with hwnas."""
    packaged = Path(__file__).parents[1] / "_devices"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "devices"


def list_devices() -> list[Device]:
    """Return the devices that come with hwnas, by name."""
    return [load_device(name) for name in _known_devices()]


def _known_devices() -> list[str]:
    return sorted(path.stem for path in devices_folder().glob("*.yaml"))


def load_device(name: str) -> Device:
    """Return the device called ``name``, or the one a path ending in .yaml describes.

    Raises:
        InputError: no such device (lists those there are), or all problems of its file.
    """
    if name.endswith((".yaml", ".yml")):
        return load_model(Device, Path(name))
    known = _known_devices()
    if name not in known:
        raise InputError(
            f"device {name!r}",
            [f"there is no such device; known: {', '.join(known)}"],
            "choose one, or give the path of a device file ending in .yaml",
        )
    return load_model(Device, devices_folder() / f"{name}.yaml")
