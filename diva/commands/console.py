"""What commands say: facts, tables and caveats on standard output, plain where no terminal reads it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diva.text.words import Table


def show(
    facts: "list[tuple[str, str]] | tuple[tuple[str, str], ...]",
    tables: "list[Table] | tuple[Table, ...]" = (),
    caveats: tuple[str, ...] = (),
) -> None:
    """Facts, then tables with their notes, then caveats."""
    from rich.console import Console
    from rich.text import Text

    from diva.text import terminal

    console = Console(highlight=False)
    for line in terminal.facts(facts, console.width):
        console.print(line, soft_wrap=True)
    for number, table in enumerate(tables):
        console.print(Text("\n" * bool(facts or number) + table.title, style="bold"))
        console.print(terminal.table(table, console.width))
        for note in table.notes:
            console.print(Text(note, style="dim"))
    for caveat in caveats:
        console.print(Text(f"! {terminal.wrapped(caveat, console.width, 2)}", style="yellow"), soft_wrap=True)
