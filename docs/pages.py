"""Pages of the site that are made when it is built: of commands, settings, schemas, notebooks, and files elsewhere.

A hook of mkdocs (see mkdocs.yml), which calls ``on_files``.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # stages are of the project, not of the installed library

ELSEWHERE = {  # page: file of the repository
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "explanation/derivation.md": "diva/README.md",
    "security.md": "SECURITY.md",
}
LINK = re.compile(r"\]\((?!https?:|#)([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie nowhere as such."""
    for address, text in pages().items():
        files.append(File.generated(config, address, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links of a page of docs/ that lead to files elsewhere lead to their pages."""
    return linked(markdown, page.file.src_uri, (Path("docs") / page.file.src_uri).parent)


def pages() -> dict[str, str]:
    """Text of each page that is made, by its address."""
    made = {address: linked(_text(path), address, Path(path).parent) for address, path in ELSEWHERE.items()}
    made |= {
        f"notebooks/{path.stem}.md": notebook(path) for path in sorted(Path(ROOT, "docs/notebooks").glob("*.ipynb"))
    }
    return made | {
        "reference/commands.md": commands(),
        "reference/settings.md": settings(),
        "reference/files.md": _text("docs/reference/files.md").replace("<!-- columns -->", columns()),
    }


def linked(text: str, address: str, folder: Path) -> str:
    """Text whose links to files that have a page here lead there; it lies in ``folder`` of the repository."""
    by_path = {path: page for page, path in ELSEWHERE.items()} | {"docs/reliability.md": "reliability.md"}

    def lead(match: re.Match[str]) -> str:
        target, _, anchor = match[1].partition("#")
        path = Path(ROOT, folder, target).resolve()
        page = by_path.get(path.relative_to(ROOT).as_posix()) if path.is_relative_to(ROOT) else None
        if page is None:
            return match[0]
        up = "../" * (len(Path(address).parts) - 1)
        return f"]({up}{page}{'#' * bool(anchor)}{anchor})"

    return LINK.sub(lead, text)


def commands() -> str:
    """Every command with its options, as ``--help`` says them."""
    import click
    from typer.cli import get_docs_for_click

    from diva.commands.cli import app

    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=click.Context(command), name="diva", title="Commands")
    return re.sub(
        r"\*\*Commands\*\*:\n.*?(?=^## )", "", text, count=1, flags=re.MULTILINE | re.DOTALL
    )  # cut short there


def settings() -> str:
    """Every section of params.yaml: as it is written, and what each key may be."""
    from stages.params.__main__ import models

    written = re.split(r"^(?=\w+:$)", _text("params.yaml"), flags=re.MULTILINE)
    texts = {part.partition(":")[0]: part.rstrip() for part in written if re.match(r"\w+:$", part.partition("\n")[0])}
    parts = [_text("docs/reference/settings.md")]
    for name, model in models().items():
        rows = [f"| `{key}` | {allowed(schema, model.model_json_schema())} |" for key, schema in _properties(model)]
        table = "\n".join(["| key | may be |", "| --- | --- |", *rows])
        parts.append(f"## {name}\n\n{model.__doc__}\n\n```yaml\n{texts[name]}\n```\n\n{table}")
    return "\n\n".join(parts) + "\n"


def _properties(model: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from model.model_json_schema()["properties"].items()


def allowed(schema: dict[str, Any], whole: dict[str, Any]) -> str:
    """What a JSON schema allows, in words."""
    if "$ref" in schema:
        return allowed(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in schema:
        return " or ".join(allowed(part, whole) for part in schema["anyOf"])
    if values := schema.get("enum", [schema["const"]] if "const" in schema else None):
        return ", ".join(f"`{value}`" for value in values)
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{word} {schema[key]}" for key, word in bounds.items() if key in schema]
    kind = {"array": "a list", "null": "`null`", "boolean": "`true` or `false`", "integer": "a whole number",
            "number": "a number", "string": "a text", "object": "a mapping"}[schema["type"]]  # fmt: skip
    if "pattern" in schema:
        limits.append(f"of the form `{schema['pattern']}`".replace("|", "\\|"))
    if items := schema.get("items"):
        limits.insert(0, "of " + allowed(items, whole).replace("a ", "", 1).replace("text", "texts"))
    return " ".join([kind, ", ".join(limits)]).strip()


def columns() -> str:
    """The columns of the tables that others read, from their schemas."""
    from diva.store import curated, manifest, release, suggested

    tables = {
        "data/release/train.parquet": release.TRAIN,
        "data/release/removed.parquet": release.REMOVED,
        "data/manifests/<batch>.parquet": manifest.SCHEMA,
        "data/reviews/<version>.parquet": curated.REVIEW,
        "data/suggested/<batch>.parquet": suggested.SCHEMA,
    }
    parts = []
    for path, schema in tables.items():
        listed = ", ".join(f"`{name}` {str(dtype).lower()}" for name, dtype in schema.items())
        parts.append(f"`{path}`\n:   {listed}\n")
    return "\n".join(f"- {part.replace(chr(10) + ':   ', ': ')}" for part in parts)


def notebook(path: Path) -> str:
    """A notebook's cells with what they printed and drew when it was run last."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    body = "\n\n".join(part for cell in cells for part in _cell(cell))
    return f"{body}\n\n[Download this notebook]({path.name}); its cells run in the tests.\n"


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    yield source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
    for output in cell.get("outputs", ()):
        data = output.get("data", {"text/plain": output.get("text", "")})
        if "image/png" in data:
            yield f'<img alt="What the cell draws" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
        elif text := "".join(data.get("text/plain", "")).rstrip():
            yield f"```text\n{text}\n```"


def _text(path: str) -> str:
    return Path(ROOT, path).read_text(encoding="utf-8")
