"""TRANSPORTS: how a device is reached, and who times models there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias

from hwnas.plugins.fields import NameOf
from hwnas.plugins.registry import Entry, Registry

if TYPE_CHECKING:
    from hwnas.device.runner import Target
    from hwnas.protocols import Runner


@dataclass(frozen=True)
class TransportKind(Entry):
    """A way to a device. ``open`` returns a runner on a target, or is its import path; None: this
    version cannot do it, though device files may name it.

    ``needs`` are the programs it calls on this machine, and ``install`` how users get them.
    """

    open: Callable[[Target], Runner] | str | None
    install: str = ""


TRANSPORTS: Registry[TransportKind] = Registry(
    "transport", builtin=("hwnas.device.transports:TRANSPORT_KINDS",)
)
TRANSPORT_KINDS = (
    TransportKind("local", "this machine", open="hwnas.device.local:LocalRunner"),
    TransportKind(
        "ssh", "a board in the network", needs=("ssh",), open=None, install="openssh-client"
    ),
    TransportKind(
        "adb",
        "an Android phone",
        needs=("adb",),
        open=None,
        install="adb (Android platform tools)",
    ),
)

Transport: TypeAlias = Annotated[str, NameOf(TRANSPORTS)]


def register_transport(
    name: str, help: str, open: Callable[[Target], Runner], *, needs: tuple[str, ...] = ()
) -> TransportKind:
    """Add a transport, which device files can then name.

    ``open(target)`` returns a connected :class:`hwnas.protocols.Runner`; ``tests/conformance`` has
    the suite it must pass.

    Raises:
        UsageError: the name is taken.
    """
    return TRANSPORTS.register(TransportKind(name, help, needs=needs, open=open))
