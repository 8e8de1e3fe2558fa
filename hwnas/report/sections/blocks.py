"""What sections are made of: plain values that ``templates/blocks.html.j2`` turns into HTML.

Every text is plain and is escaped by the template; ``kind`` names the block's macro.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from hwnas.io.suggest import command
from hwnas.report.figures.svg import Drawing
from hwnas.report.model import RunFacts


@dataclass(frozen=True)
class Column:
    """A table's column; ``numeric`` ones are set flush right in figures of one width."""

    title: str
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """A table's cell that is more than text: set as code, bold or a badge, or a link."""

    text: str
    style: Literal["", "code", "strong", "badge"] = ""
    href: str = ""


@dataclass(frozen=True)
class Row:
    """A table's row; ``anchor`` is the id that links lead to."""

    cells: tuple[str | Cell, ...]
    anchor: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a cell per column in each row."""

    kind: ClassVar[str] = "table"
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption."""

    kind: ClassVar[str] = "figure"
    drawing: Drawing


@dataclass(frozen=True)
class Text:
    """A paragraph; ``code`` stands in it after ``text``, ``after`` follows."""

    kind: ClassVar[str] = "text"
    text: str
    muted: bool = False
    code: str = ""
    after: str = ""
    href: str = ""


@dataclass(frozen=True)
class Missing:
    """The note in place of a file that is not there yet: ``command`` writes it."""

    kind: ClassVar[str] = "missing"
    file: str
    command: str


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    kind: ClassVar[str] = "heading"
    text: str
    anchor: str = ""


@dataclass(frozen=True)
class Definitions:
    """Names with their values."""

    kind: ClassVar[str] = "definitions"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Card:
    """One figure of the summary."""

    name: str
    value: str
    note: str


@dataclass(frozen=True)
class Cards:
    """The summary's figures, side by side."""

    kind: ClassVar[str] = "cards"
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Bar:
    """A bar of ``share`` (0..1) of the widest, with a ``note`` below; ``style`` is a CSS class."""

    name: str
    share: float
    value: str
    style: str = ""
    note: str = ""


@dataclass(frozen=True)
class Bars:
    """Bars on one scale, one under the other; ``label`` describes them to a screen reader."""

    kind: ClassVar[str] = "bars"
    label: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Pre:
    """Text as it stands in a file."""

    kind: ClassVar[str] = "pre"
    text: str


@dataclass(frozen=True)
class Folded:
    """Blocks behind a summary; ``anchor`` is the id that links lead to."""

    kind: ClassVar[str] = "folded"
    summary: str
    blocks: tuple[Block, ...]
    anchor: str = ""


@dataclass(frozen=True)
class Side:
    """Groups of blocks side by side, one under the other on a narrow page."""

    kind: ClassVar[str] = "side"
    groups: tuple[tuple[Block, ...], ...]


Block: TypeAlias = (
    Table | Figure | Text | Missing | Heading | Definitions | Cards | Bars | Pre | Folded | Side
)


@dataclass(frozen=True)
class Section:
    """A section of the page: its id, its title, its blocks."""

    name: str
    title: str
    blocks: tuple[Block, ...]

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """The drawings in it that are also written as files, in order."""
        return tuple(block.drawing for block in self.blocks if isinstance(block, Figure))


def table(
    columns: Sequence[tuple[str, bool]],
    rows: Sequence[Row | Sequence[str | Cell]],
    caption: str = "",
) -> Table:
    """Return a table of (title, is numeric) columns; rows may be plain sequences of cells.

    Raises:
        ValueError: a row has not one cell per column.
    """
    made = tuple(row if isinstance(row, Row) else Row(tuple(row)) for row in rows)
    for row in made:
        if len(row.cells) != len(columns):
            raise ValueError(
                f"a row of {len(row.cells)} cells in a table of {len(columns)} columns"
            )
    return Table(tuple(Column(*column) for column in columns), made, caption)


def no_winner(facts: RunFacts) -> Missing:
    """Return what stands where there is no winner yet."""
    return Missing("winner.json", command("bench", facts.run))


def no_table(facts: RunFacts) -> Missing:
    """Return what stands where there is no latency table yet."""
    return Missing(
        "table.json",
        command(
            "profile",
            device=facts.target.device or "DEVICE",
            runtime=facts.target.runtime,
            space=str(facts.setting("space") or "SPACE"),
            out=f"{facts.run}/table.json",
        ),
    )
