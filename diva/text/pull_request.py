"""Facts, tables and caveats as Markdown, for a pull request: all text from data is shown letter by letter."""

from collections.abc import Iterable, Sequence

from diva.text.harmless import markdown
from diva.text.words import Table


def written(title: str, sentences: Sequence[str], caveats: Iterable[str], tables: Iterable[Table]) -> str:
    """A page of Markdown: sentences, caveats as a list, tables as GitHub reads them."""
    parts = [f"## {markdown(title)}", *map(markdown, sentences), "\n".join(f"- {markdown(text)}" for text in caveats)]
    return "\n\n".join(filter(None, [*parts, *map(_table, tables)])) + "\n"


def _table(content: Table) -> str:
    lines = [
        "| " + " | ".join(markdown(column.title) for column in content.columns) + " |",
        "| " + " | ".join("---:" if column.number else "---" for column in content.columns) + " |",
    ]
    for row in content.rows:
        first, *others = map(markdown, row.cells)
        marks = " ▸" * row.used + " ★" * row.best
        lines.append("| " + " | ".join([f"**{first}**{marks}" if row.used else first + marks, *others]) + " |")
    notes = [f"{markdown(note)}" for note in content.notes]
    return "\n\n".join([f"**{markdown(content.title)}**", "\n".join(lines), *notes])
