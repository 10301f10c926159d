"""The ``diva`` command: the only module of the library that prints, and the only one that touches params.yaml.

    diva init      a project for one's own data: params.yaml and data/ledger.yaml
    diva plan      what a run will cost
    diva summary   what the last run did
    diva versions  what was published;  diva show, diva diff: one version, and what changed between two
    diva rollback  go back to a version;  diva export: its training set for other tools
    diva forget    take samples down;  diva relabel: correct labels of accepted batches
    diva compact   start the history anew at the newest set

Mistakes are one message on stderr: exit code 2 where the command line is wrong, 1 where what it names is.
Each command imports what it needs itself, so that none waits for what another needs (torch takes seconds).
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import polars as pl

    from diva.project import Found
    from diva.texts import Table

BACKBONE, WEIGHTS = "resnet34", "DEFAULT"  # for images, where the command line names none

app = typer.Typer(
    help="Versioned, curated training sets by the derivative of the leave-one-out loss.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command; a mistake is a message on stderr, never a traceback."""
    try:
        app()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"diva: {error}\n")
        sys.exit(1)


@app.callback()
def diva() -> None:
    """Versioned, curated training sets by the derivative of the leave-one-out loss."""


@app.command()
def summary() -> None:
    """Print what the last run did: sizes, wrong labels, rounds, test errors, and where everything lies."""
    from diva import summary as content

    found = content.summarise(content.read())
    _show(found.facts, found.tables, found.caveats)


@app.command()
def init(
    core: Annotated[str, typer.Option(metavar="SOURCE", help="The labelled set to start from.")],
    pool: Annotated[list[str] | None, typer.Option(metavar="SOURCE", help="Candidates; may be given again.")] = None,
    test: Annotated[str, typer.Option(metavar="SOURCE|none", help="A test set, used for nothing else.")] = "none",
    rounds: Annotated[int, typer.Option(min=0, max=999, help="Rounds of extension; none without a pool.")] = 3,
    backbone: Annotated[str | None, typer.Option(metavar="NAME", help=f"For images; {BACKBONE} unless given.")] = None,
    weights: Annotated[str | None, typer.Option(metavar=f"{WEIGHTS}|none|PATH", help="Of the backbone.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a ledger of other data.")] = False,
) -> None:
    """Write params.yaml and data/ledger.yaml for your own data, which stays where it is.

    SOURCE: a folder class/image; a .csv or .parquet list (path, label); ready features (.npz, .npy, .parquet, .h5 with
    features, labels and, if you like, sample_id); or torchvision:NAME.
    """
    from diva import project
    from diva.store import atomic, ledger, paths

    text, params = _params()
    settings = {name: _section(params, name) for name in ("extend", "curate")}
    _spare([core, *(pool or []), test], force)
    found = project.gather(core, pool or [], test)
    if found["core"].kind == "images" and (core != "digits" or backbone or weights):
        text = project.edited(text, "extract", _network(backbone or BACKBONE, weights or WEIGHTS, params))
    book = project.ledger_of(found, rounds, settings)
    atomic.write_text(paths.PARAMS, text)
    ledger.write(paths.LEDGER, book)  # last: from here on, the project is the new one
    facts = [(name, _described(found[name])) for name in ledger.order(book)]
    facts += [("rounds", f"{len(book.rounds)}" + ("" if book.pool else ": there is no pool to add from"))]
    _show(
        [*facts, ("wrote", f"{paths.PARAMS}, {paths.LEDGER}"), ("next", "diva plan (what it costs), then make curate")]
    )


@app.command()
def plan() -> None:
    """Say what a run will cost: images to extract, minutes, memory, from a short measurement."""
    from diva import plan as content
    from diva.store import ledger

    extract = _section(_params()[1], "extract", content.KEYS)
    _allow_own_modules()
    book = ledger.read()
    found = content.loads(book, extract)
    left = sum(load.left or 0 for load in found)
    unknown = any(load.left is None for load in found)
    cost = content.measure(content.images(found), left, extract) if left or unknown else None
    _show(content.facts(found, cost, extract), [content.table(found)])


@app.command()
def versions() -> None:
    """List what was published: version, date, newest round, size, added, removed, test error."""
    from diva import history
    from diva.store import versions as store

    _show((), [history.listed(store.versions(), store.current())])


@app.command()
def show(version: Annotated[str | None, typer.Argument(help="What lies here, unless given.")] = None) -> None:
    """Show a version: class balance, weights, and the data, network, settings and code it came from."""
    from diva import portrait
    from diva.store import versions as store

    _show(*portrait.shown(store.find(version)))


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A")],
    after: Annotated[str | None, typer.Argument(metavar="B", help="What lies here, unless given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every sample, for programs.")] = False,
) -> None:
    """Say what changed from version A to B: added, removed, relabelled, reweighted, by class."""
    from diva import portrait
    from diva.store import difference
    from diva.store import versions as store

    old, new = store.find(before), store.find(after)
    rows = difference.between(old, new)
    if as_json:
        print(json.dumps(difference.as_json(old.name, new.name, rows), ensure_ascii=False, indent=2))
    else:
        _show(*portrait.changed(old, new, rows))


@app.command()
def rollback(version: Annotated[str, typer.Argument()]) -> None:
    """Go back to a version: its ledger, lock file, metrics and data, as a new commit. No version is lost.

    The next round continues from there. Takedowns since then stay in force.
    """
    from diva.store import reviews
    from diva.store import versions as store

    with store.exclusive():
        found = store.find(version)
        kept = reviews.roll_back(found)
    stay = f"all versions, later ones too; {kept} takedowns since then" if kept else "all versions, later ones too"
    _show(
        [("here now", f"{found.name}, {found.round}"), ("kept", stay), ("next", "the next round continues from here")]
    )


@app.command()
def export(
    version: Annotated[str, typer.Argument()],
    to: Annotated[Path, typer.Option(metavar="DIR", help="A new or an empty folder.")],
    form: Annotated[str, typer.Option("--format", metavar="imagefolder|csv|parquet")] = "imagefolder",
    copy: Annotated[bool, typer.Option("--copy", help="Copy images instead of linking them.")] = False,
) -> None:
    """Write a version's training set for other tools: a folder per class, or a table."""
    from diva.store import export as content
    from diva.store import versions as store

    found = store.find(version)
    count = content.export(found, form, to, copy=copy)
    _show([("wrote", f"{to}: {count:,} samples of {found.name} as {form}")])


@app.command()
def forget(
    sample_id: Annotated[list[str] | None, typer.Argument(metavar="ID…")] = None,
    why: Annotated[str, typer.Option(help="Kept with the decision.")] = "",
    listed: Annotated[bool, typer.Option("--list", help="List what was taken down.")] = False,
) -> None:
    """Take samples down: gone from every later version, whatever scores or later reviews say."""
    from diva.store import ledger, reviews

    book = ledger.read()
    if listed or not sample_id:
        gone = reviews.forgotten(book)
        _show([("taken down", f"{len(gone)} samples"), *((name, note) for name, note in gone.iter_rows())])
        return
    _decide(reviews.forget(book, sample_id, why), "forget")


@app.command()
def relabel(file: Annotated[Path, typer.Argument(metavar="FILE", help=".csv or .parquet: sample_id, label.")]) -> None:
    """Correct labels of accepted batches: a new entry of the ledger, which the next round obeys above any score."""
    from diva.store import ledger, reviews

    _decide(reviews.relabel(ledger.read(), file), f"relabel {file.name}")


@app.command()
def compact() -> None:
    """Start the history anew at the newest set: what it needs becomes data/base; a new version publishes that."""
    from diva.store import compact as content
    from diva.store import paths
    from diva.store import versions as store

    with store.exclusive():
        name = content.compact()
    _show([("published", f"{name}; the history starts in {paths.BASE}"), ("kept", "all earlier versions")])


def _decide(decisions: "pl.DataFrame", what: str) -> None:
    """Put decisions of people into the ledger as its newest review, and commit that."""
    from diva.store import reviews
    from diva.store import versions as store

    if decisions.is_empty():
        _show([("unchanged", "all of these were taken down before")])
        return
    with store.exclusive():
        name = reviews.publish(decisions, what)
    told = f"{len(decisions)} decisions; the next round obeys them (python -m flows.nightly)"
    _show([("review", f"{name}, {what}: {told}")])


def _show(
    facts: "list[tuple[str, str]] | tuple[tuple[str, str], ...]",
    tables: "list[Table] | tuple[Table, ...]" = (),
    caveats: tuple[str, ...] = (),
) -> None:
    """Facts, then tables with their notes, then caveats; plain where no terminal reads it."""
    from rich.console import Console
    from rich.text import Text

    from diva import terminal

    console = Console(highlight=False)
    if facts:
        console.print(terminal.facts(facts))
    for number, table in enumerate(tables):
        console.print(Text("\n" * bool(facts or number) + table.title, style="bold"))
        console.print(terminal.table(table, console.width))
        for note in table.notes:
            console.print(Text(note, style="dim"))
    for caveat in caveats:
        console.print(Text(f"! {caveat}", style="yellow"))


def _params() -> tuple[str, dict[str, Any]]:
    """params.yaml as text and as values."""
    import yaml

    from diva.store import paths

    try:
        text = paths.PARAMS.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except FileNotFoundError:
        raise ValueError(f"{paths.PARAMS} must exist; run in the project's folder (a clone of DIVA).") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{paths.PARAMS} must be readable YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{paths.PARAMS} must hold one section per stage, got {type(values).__name__}.")
    return text, values


def _section(params: Mapping[str, Any], name: str, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """A section of params.yaml, with at least these keys."""
    section = params.get(name)
    if not isinstance(section, dict):
        raise ValueError(f"params.yaml must have a section '{name}', got {', '.join(map(str, params))}.")
    missing = [key for key in keys if key not in section]
    if missing:
        raise ValueError(f"params.yaml:{name} must have the keys {', '.join(keys)}; missing {', '.join(missing)}.")
    return section


def _spare(names: list[str], force: bool) -> None:
    """Refuse to replace a ledger of other data."""
    from diva import project
    from diva.store import ledger, paths

    if force or not paths.LEDGER.exists():
        return
    old = ledger.read()
    if not project.replaceable(old, names):
        held = ", ".join(f"{name} ({batch.source})" for name, batch in old.batches.items())
        raise ValueError(
            f"{paths.LEDGER} must hold no other data, got {held}. Start in a fresh clone, or replace it with --force."
        )


def _network(backbone: str, weights: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Section ``extract`` for a network, once it is known to exist and a weights file to be its own."""
    from diva import project
    from diva.vision import backbones  # torch: seconds, and only for images

    _section(params, "extract")
    _allow_own_modules()
    checksum = None
    if weights in ("DEFAULT", "none"):
        backbones.builder(backbone)
    else:
        checksum = backbones.load_backbone(backbone, weights, size=project.CROP).weights_sha256
    return project.settings_of(backbone, weights, checksum)


def _allow_own_modules() -> None:
    """A backbone may be package.module:function of the project's folder, as it is for the stages."""
    sys.path.insert(0, str(Path.cwd()))


def _described(found: "Found") -> str:
    """What a source holds, in words."""
    from diva.texts import count

    if found.kind == "none":
        return "none"
    if found.samples is None:
        return f"{found.name}: counted once it is downloaded"
    rows = "images" if found.kind == "images" else f"rows of {found.width} features"
    unusable = f" ({count(found.unusable)} unusable: quarantine)" if found.unusable else ""
    return f"{found.name}: {count(found.samples)} {rows}, {count(found.classes or 0)} classes{unusable}"


if __name__ == "__main__":
    main()
