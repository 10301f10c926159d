"""Facts and tables in a terminal."""

import io

from rich.console import Console

from diva.text import terminal
from diva.text.words import Column, Row, Table


def test_text_never_steers_the_terminal() -> None:
    """Labels and names come with deliveries: escape sequences in them are shown, not obeyed."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, highlight=False)
    hostile = "\x1b[31mred\x1b]0;title\x07\x9b2J[bold]cat[/bold]"
    console.print(*terminal.facts([(hostile, hostile)], 80))
    console.print(terminal.table(Table("", (Column("class", number=False),), (Row((hostile,)),)), 80))
    told = stream.getvalue()
    assert "\x1b[31m" not in told
    assert not {"\x07", "\x9b"} & set(told)
    assert "\x1b]" not in told
    assert told.count("[bold]cat[/bold]") == 3, "markup is text, too"
