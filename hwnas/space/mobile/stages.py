"""What the stages of space ``mobile`` offer: what its published networks have there."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.arch import Option
from hwnas.space.mobile.blocks import EXISTING

ALL_ACTS = ("relu6", "relu", "hswish", "swish")
NO_HSWISH = ("relu6", "relu", "swish")
SE = ("none", "hidden", "input")


@dataclass(frozen=True)
class BlockMenu:
    """What a block offers: options of each choice, in the order of ``BLOCK_CHOICES``."""

    families: tuple[str, ...]
    kernel_starts: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    hiddens: tuple[str, ...]
    ses: tuple[str, ...]
    acts: tuple[str, ...]

    @property
    def options(self) -> tuple[tuple[Option, ...], ...]:
        """The options of each choice."""
        return (
            self.families,
            self.kernel_starts,
            self.kernel_sizes,
            self.hiddens,
            self.ses,
            self.acts,
        )

    def kept(self) -> tuple[bool, ...]:
        """Return for each choice whether any family of this menu has it."""
        return (True, *(any(EXISTING[f][i] for f in self.families) for i in range(5)))


@dataclass(frozen=True)
class MobileStage:
    """``depths`` and ``widths`` on offer; ``first`` is block 1's menu, ``rest`` the others'.

    ``kv_stride`` is that of attention in this stage.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stride: int
    first: BlockMenu
    rest: BlockMenu
    kv_stride: int = 1

    def menu(self, block: int) -> BlockMenu:
        """Return the menu of block ``block``, counted from 0."""
        return self.rest if block else self.first


STAGES = (
    MobileStage(
        (0, 1),
        (16,),
        1,
        first=BlockMenu(("mbconv",), (3,), (3,), ("1",), SE, NO_HSWISH),
        rest=BlockMenu(("mbconv",), (3,), (3,), ("1",), SE, NO_HSWISH),
    ),
    MobileStage(
        (1, 2, 3),
        (16, 24, 32, 48),
        2,
        first=BlockMenu(
            ("mbconv", "fused_mbconv", "fused_mbconv_act"),
            (3,),
            (3,),
            ("1", "3", "4", "6"),
            SE,
            NO_HSWISH,
        ),
        rest=BlockMenu(("mbconv",), (3,), (3,), ("3", "6"), SE, NO_HSWISH),
    ),
    MobileStage(
        (1, 2, 3),
        (24, 32, 40, 64, 80),
        2,
        first=BlockMenu(
            ("mbconv", "fused_mbconv_act", "extradw_scaled"),
            (3,),
            (3, 5),
            ("3", "4", "4.5", "6"),
            SE,
            NO_HSWISH,
        ),
        rest=BlockMenu(
            ("mbconv", "extradw_scaled"), (3,), (3, 5), ("2", "3", "3.67", "6"), SE, NO_HSWISH
        ),
    ),
    MobileStage(
        (2, 3, 4, 6, 8, 12),
        (40, 64, 80, 96, 160),
        2,
        first=BlockMenu(
            ("mbconv", "extradw", "extradw_scaled"), (3, 5), (3, 5), ("3", "4", "6"), SE, ALL_ACTS
        ),
        rest=BlockMenu(
            (
                "mbconv",
                "extradw",
                "convnext",
                "extradw_scaled",
                "convnext_scaled",
                "ffn_scaled",
                "mqa",
            ),
            (3, 5),
            (3, 5),
            ("2", "2.3", "2.5", "4", "6"),
            SE,
            ALL_ACTS,
        ),
        kv_stride=2,
    ),
    MobileStage(
        (0, 2, 3),
        (48, 96, 112),
        1,
        first=BlockMenu(("mbconv",), (3,), (3, 5), ("3", "6"), SE, ALL_ACTS),
        rest=BlockMenu(("mbconv",), (3,), (3, 5), ("3", "6"), SE, ALL_ACTS),
    ),
    MobileStage(
        (2, 3, 4, 6, 10, 16),
        (96, 128, 160, 192, 256),
        2,
        first=BlockMenu(
            ("mbconv", "extradw", "extradw_scaled"), (3, 5), (3, 5), ("4", "6"), SE, ALL_ACTS
        ),
        rest=BlockMenu(
            (
                "mbconv",
                "extradw",
                "convnext",
                "extradw_scaled",
                "convnext_scaled",
                "ffn_scaled",
                "mqa",
            ),
            (3, 5),
            (3, 5),
            ("2", "3", "4", "6"),
            SE,
            ALL_ACTS,
        ),
    ),
    MobileStage(
        (0, 1),
        (320,),
        1,
        first=BlockMenu(("mbconv",), (3,), (3, 5), ("6",), SE, NO_HSWISH),
        rest=BlockMenu(("mbconv",), (3,), (3, 5), ("6",), SE, NO_HSWISH),
    ),
)
"""At 224 pixels the stages work on 112, 56, 28, 14, 14, 7 and 7 pixels."""
