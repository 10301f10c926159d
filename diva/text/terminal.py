"""Facts and tables as rich draws them; the command prints them."""

from collections.abc import Iterable

from rich import box
from rich.table import Table as Drawing
from rich.text import Text

from diva.text.harmless import plain as shown
from diva.text.words import Column, Row, Table

WIDE = 110  # columns of a terminal that shows every column of a table
COLOURS = {"better": "green", "worse": "red", "": ""}


def facts(pairs: Iterable[tuple[str, str]]) -> Drawing:
    """Names in bold, and what is said of each."""
    grid = Drawing.grid(padding=(0, 2))
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")  # a checksum is worth nothing without its end
    for name, text in pairs:
        grid.add_row(plain(name, "bold"), plain(text))
    return grid


def table(content: Table, width: int) -> Drawing:
    """A table for a terminal of this width: marks in front, fewer columns where it is narrow."""
    shown = [index for index, column in enumerate(content.columns) if width >= WIDE or not column.wide]
    drawing = Drawing(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    marked = any(row.used or row.best for row in content.rows)
    if marked:
        drawing.add_column("")
    for column in (content.columns[index] for index in shown):
        drawing.add_column(Text(column.title), justify="right" if column.number else "left", overflow="fold")
    for row in content.rows:
        cells = [_cell(row, content.columns[index], row.cells[index]) for index in shown]
        drawing.add_row(*[marks(row)] * marked, *cells, style="bold" if row.used else "")
    return drawing


def marks(row: Row) -> str:
    """What the release is, and what is best."""
    return ("▸" if row.used else " ") + ("★" if row.best else " ")


def _cell(row: Row, column: Column, text: str) -> Text:
    return plain(text, COLOURS[row.verdict] if column.judged else "")


def plain(text: str, style: str = "") -> Text:
    """Text as it is: what would steer the terminal, in a label or a file's name, is shown instead of obeyed."""
    return Text(shown(text), style=style)
