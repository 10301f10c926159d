"""Facts and tables as rich draws them; the command prints them."""

import textwrap
from collections.abc import Iterable, Iterator

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.table import Table as Drawing
from rich.text import Text

from diva.text.harmless import plain as shown
from diva.text.words import Column, Row, Table

WIDE = 110  # columns of a terminal that shows every column of a table
COLOURS = {"better": "green", "worse": "red", "": ""}


def facts(pairs: Iterable[tuple[str, str]], width: int) -> Iterator[Text]:
    """Names in bold, and what is said of each."""
    named = [(shown(name), text) for name, text in pairs]
    margin = max((cell_len(name) for name, _ in named), default=0) + 2
    for name, text in named:
        yield Text.assemble((set_cell_size(name, margin), "bold"), wrapped(text, width, margin))


def wrapped(text: str, width: int, margin: int) -> str:
    """Text in lines of this width, behind a margin from the second on; no path or checksum is broken, however long."""
    lines = textwrap.wrap(shown(text), max(width - margin, 1), break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * margin).join(lines)


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
