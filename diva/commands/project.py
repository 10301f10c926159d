"""Commands about a project: ``init``, ``plan``, ``summary``."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from diva.commands import console, params
from diva.text.choices import Task

if TYPE_CHECKING:
    from diva.ingest.inspection import SourceContents
    from diva.store.ledger import Ledger

TASKS = {
    "multilabel": "multilabel: a sample has several labels, or none (--task says otherwise)",
    "regression": "regression: a label is a number",
}
PIPELINE = "diva, stages, flows, dvc.yaml and prefect.yaml are the pipeline's own files, and may be left alone"
BACKBONE, WEIGHTS = "bundled:efficientnet_lite0", "DEFAULT"  # for images, where the command line names none


def init(
    core: Annotated[str, typer.Option(metavar="SOURCE", help="The labelled set to start from.")],
    pool: Annotated[list[str] | None, typer.Option(metavar="SOURCE", help="Candidates; may be given again.")] = None,
    test: Annotated[str, typer.Option(metavar="SOURCE|none", help="A test set, used for nothing else.")] = "none",
    rounds: Annotated[int, typer.Option(min=0, max=999, help="Rounds of extension; none without a pool.")] = 3,
    backbone: Annotated[str | None, typer.Option(metavar="NAME", help=f"For images; {BACKBONE} unless given.")] = None,
    weights: Annotated[str | None, typer.Option(metavar=f"{WEIGHTS}|none|PATH", help="Of the backbone.")] = None,
    profile: Annotated[str | None, typer.Option(metavar="NAME|PATH", help="Settings, such as paper.")] = None,
    columns: Annotated[str, typer.Option(metavar="path=NAME,label=NAME", help="What lists call these columns.")] = "",
    layout: Annotated[
        str | None, typer.Option("--format", metavar="NAME|plain", help="Of the sources, where it is not recognised.")
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Of data sets that have several.")] = None,
    group_by: Annotated[
        str | None, typer.Option(metavar="parent|REGEX", help="Images that belong together, by their path.")
    ] = None,
    task: Annotated[
        Task | None, typer.Option(help="What labels are, where it is not recognised: a class, several, a number.")
    ] = None,
    separator: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of several labels of a sample, such as ';'; | unless given.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a ledger of other data.")] = False,
) -> None:
    """Write params.yaml and data/ledger.yaml for your own data, which stays where it is.

    In a new folder: all that a project consists of, and `git init` where it is no repository.

    SOURCE: a folder class/image; a .csv or .parquet list (path, label, and group where some
    belong together); ready features (.npz, .npy, .parquet, .h5 with
    features, labels and, if you like, sample_id); a Hugging Face data set, WebDataset shards
    (also name-{000..099}.tar), COCO or YOLO boxes, what Label Studio or CVAT exported; any of
    these by URL (s3://, gs://, az://, https://);
    dataset:NAME[@ROOT] (of the paper); or torchvision:NAME.
    """
    from diva.ingest import project
    from diva.store import atomic, ledger, manifest, paths
    from diva.text import progress
    from diva.versions import scaffold

    if fresh := not scaffold.is_project():
        scaffold.require_folder()
    text, values = params.read()
    if profile:
        text, values = params.with_profile(text, profile)
    _spare([core, *(pool or []), test], force)
    with progress.shown("init"):
        accepts = params.section(values, "download").get("new_classes") == "accept"
        labels = (_columns(columns), accepts, layout, split, task, separator)
        contents = project.gather(core, pool or [], test, *labels)
    changes: dict[str, dict[str, Any]] = {}
    if contents["core"].kind == "images" and (backbone or weights or (core not in project.FRESH and not profile)):
        changes["extract"] = _network(backbone or BACKBONE, weights or WEIGHTS, values)
    changes |= project.settings_of_task(contents["core"].task, separator, values["download"])
    if group_by is not None:
        manifest.grouped(manifest.samples([]), group_by)  # refuses what is no regular expression
        project.require_groups(contents["core"], group_by)
        changes["download"] = changes.get("download", {}) | {"group_by": group_by}
    for name, keys in changes.items():
        text = project.edited(text, name, keys)
    book = project.ledger_of(contents, rounds, {name: params.section(values, name) for name in ("extend", "curate")})
    if fresh:
        scaffold.begin()
    atomic.write_text(paths.PARAMS, text)
    ledger.write(paths.LEDGER, book)  # last: from here on, the project is the new one
    _show_begun(contents, book, fresh)


def _show_begun(contents: Mapping[str, "SourceContents"], book: "Ledger", fresh: bool) -> None:
    """What a project consists of, and what to do next."""
    from diva.store import ledger, paths

    kind, wrote = contents["core"].task, f"{paths.PARAMS}, {paths.LEDGER}"
    console.show(
        [
            *((name, _described(contents[name])) for name in ledger.order(book)),
            *([("task", TASKS[kind])] if kind != "classification" else []),
            ("rounds", f"{len(book.rounds)}" + ("" if book.pool else ": there is no pool to add from")),
            ("wrote", f"a project: {wrote}, …" if fresh else wrote),
            *([("besides", PIPELINE)] if fresh else []),
            ("next", "diva plan (what it costs), then diva run"),
        ],
        caveats=tuple(note for source in contents.values() for note in source.notes),
    )


def add(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="As for `diva init`.")],
    to: Annotated[Literal["core", "test", "pool"], typer.Option(help="The set that it joins.")],
    columns: Annotated[str, typer.Option(metavar="path=NAME,label=NAME", help="What a list calls these columns.")] = "",
    layout: Annotated[
        str | None, typer.Option("--format", metavar="NAME|plain", help="Where it is not recognised.")
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Of a data set that has several.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask where published rounds are concerned.")] = False,
) -> None:
    """Accept one more delivery: to the pool from the next round on; to core or test set under a new major version.

    Says what it does to published rounds, and asks, before anything is written.
    """
    from diva.ingest import project
    from diva.store import ledger, paths
    from diva.text import progress
    from diva.versions import batches, sync

    with sync.in_step(strict=True), progress.shown("add"):
        book = ledger.read()
        download = params.section(params.read()[1], "download")
        accepts, labels = (
            download.get("new_classes") == "accept",
            (download.get("task", "classification"), download.get("separator")),
        )
        contents = project.fitting(book, source, to, _columns(columns), accepts, layout, split, *labels)
        checksum = contents.source.checksum()
        entry = ledger.Batch(source=source, checksum=checksum, options=dict(contents.options))
        grown = batches.added(book, to, entry)
        effect = batches.effect(book, to)
        console.show([(to, _described(contents)), ("effect", effect)], caveats=contents.notes)
        if grown.rounds != book.rounds and not yes:
            typer.confirm("Go on?", abort=True)
        ledger.write(paths.LEDGER, grown)
    console.show([("wrote", str(paths.LEDGER)), ("next", "diva night, or diva run")])


def plan() -> None:
    """Say what a run will cost: images to extract, minutes and memory from some seconds of measurement, disk."""
    from diva.commands import plan as content
    from diva.ingest import overlap
    from diva.store import ledger
    from diva.text import progress

    values = params.read()[1]
    extract = params.section(values, "extract", content.KEYS)
    params.allow_own_modules()
    book = ledger.read()
    batches = content.loads(book, extract)
    pending = [load for load in batches if load.remaining or load.remaining is None]
    remaining = sum(load.remaining or 0 for load in pending)
    with progress.shown("plan"):
        cost = content.measure(content.images(batches), remaining, extract, len(pending)) if pending else None
        run = content.run_cost(batches, cost, values, len(book.rounds))
    shared = overlap.shared_samples({load.batch: load.contents for load in batches}, "batches.{}".format)
    console.show(content.facts(batches, cost, run, extract), [content.table(batches)], tuple(shared.values()))


def summary() -> None:
    """Print what the last run did: sizes, wrong labels, rounds, test errors, and where everything lies."""
    from diva.report import run_metrics
    from diva.report import summary as content

    last = content.summarise(run_metrics.read())
    console.show(last.facts, last.tables, (*last.caveats, *_outdated()))


def report(
    form: Annotated[
        Literal["html", "md"], typer.Option("--format", help="html: where the page lies; md: the summary, as Markdown.")
    ] = "html",
) -> None:
    """Say where the report lies, or print its summary for a pull request."""
    from diva.report import run_metrics
    from diva.report import summary as content
    from diva.store import paths
    from diva.text import pull_request

    if form == "html":
        if not paths.REPORT.is_file():
            raise ValueError(f"{paths.REPORT} must exist, got nothing; `diva run` makes it.")
        console.show([("report", str(paths.REPORT)), ("served", "diva review --serve")])
        return
    run = run_metrics.read()
    last = content.summarise(run)
    caveats = (*last.caveats, *_outdated())
    typer.echo(pull_request.written("Curation", content.sentences(run), caveats, last.tables), nl=False)


def _outdated() -> list[str]:
    """A caveat where rounds were made with settings that were edited since, which a plain `dvc repro` does not see."""
    from diva.store import ledger
    from diva.versions import published, rounds
    from diva.versions.processes import CommandError

    values = params.read()[1]
    settings = {name: params.section(values, name) for name in ("extend", "curate")}
    with suppress(CommandError):  # without git, nothing is published, and nothing follows
        if names := rounds.outdated(ledger.read(), published.by_round(), settings):
            how = "`diva run` or a night makes them anew, a plain `dvc repro` keeps the old settings"
            said = f"{', '.join(names)}: not published yet, and params.yaml was edited since they were planned"
            return [f"{said}; {how}."]
    return []


def why(
    sample: Annotated[str, typer.Argument(help="Its id, or its file name.")],
    top: Annotated[int, typer.Option(min=1, help="How many samples each table names.")] = 5,
) -> None:
    """Why a sample is thought helpful or harmful: what the others say of it, whom it helps and harms, what lies near.

    Exact, by the model of the newest set that lies here.
    """
    from diva.report import why as content

    console.show(*content.explained(sample, top))


def _spare(names: list[str], force: bool) -> None:
    """Refuse to replace a ledger of other data."""
    from diva.ingest import project
    from diva.store import ledger, paths

    if force or not paths.LEDGER.exists():
        return
    old = ledger.read()
    if not project.replaceable(old, names):
        others = ", ".join(f"{name} ({batch.source})" for name, batch in old.batches.items())
        raise ValueError(
            f"{paths.LEDGER} must hold no other data, got {others}. Start in a new folder, or replace it with --force."
        )


def _columns(text: str) -> dict[str, str]:
    """``path=image,label=class`` as a mapping."""
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    if not all(name in ("path", "label") and value for name, _, value in pairs):
        raise ValueError(f"--columns must be such as path=image,label=class, got {text!r}.")
    return {name: value.strip().lower() for name, _, value in pairs}


def _network(backbone: str, weights: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Section ``extract`` for a network, once it is known to exist and a weights file to be its own."""
    from diva.ingest import project
    from diva.vision import backbones  # torch: seconds, and only for images

    params.section(values, "extract")
    params.allow_own_modules()
    checksum = None
    if weights in ("DEFAULT", "none"):
        backbones.builder(backbone)
    else:
        checksum = backbones.load_backbone(backbone, weights, size=project.CROP).weights_sha256
    return project.settings_of(backbone, weights, checksum)


def _described(contents: "SourceContents") -> str:
    """What a source holds, in words."""
    from diva.text.targets import described
    from diva.text.words import amount, count

    if contents.kind == "none":
        return "none"
    if contents.samples is None:
        return f"{contents.name}: counted once it is downloaded or unpacked"
    rows = "image" if contents.kind == "images" else f"row of {amount(contents.width or 0, 'feature')}"
    unusable = f" ({count(contents.unusable)} unusable: quarantine)" if contents.unusable else ""
    waiting = f", {count(contents.unlabelled)} of them without a label: they wait for theirs (diva label)"
    classes = f", {described(contents.task, contents.classes or 0)}" + (waiting if contents.unlabelled else "")
    return f"{contents.name}: {amount(contents.samples, rows)}{classes}{unusable}"
