"""Commands about a project as a whole: ``demo``, ``run``, ``night``, ``upgrade``."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diva.commands import console, params

if TYPE_CHECKING:
    from diva.versions.scaffold import Change

PASSED_ON: Any = {  # options are those of the program that is started
    "context_settings": {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
}


def demo(
    folder: Annotated[Path, typer.Argument(help="A new folder for it.")] = Path("diva-demo"),
    only: Annotated[bool, typer.Option("--no-run", help="Only write the project.")] = False,
) -> None:
    """Begin a project with the embedded example in a new folder, and run it: a minute or two."""
    from diva.store import atomic, paths
    from diva.versions import scaffold

    if folder.exists() and any(folder.iterdir()):
        raise ValueError(
            f"{folder} must be a new folder, got one that holds something; name another: diva demo FOLDER."
        )
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    scaffold.begin()
    for path in (paths.PARAMS, paths.LEDGER):
        atomic.write_text(path, scaffold.example(path))
    console.show([("wrote", f"{folder}: the embedded example, a project like any other")])
    if not only:
        run()


def run() -> None:
    """Check params.yaml, run the pipeline (`dvc repro`), print what happened."""
    from diva.commands import project

    _start("stages.params")
    _start("stages.fork_server", sys.executable, "-m", "diva.versions.reproduction", "repro")
    project.summary()


def night(context: typer.Context) -> None:
    """Take in deliveries, publish rounds (`python -m flows.nightly`, whose options it takes; --help lists them)."""
    _start("flows.nightly", *context.args, DIVA_PROGRAM="diva night")


def _start(*command: str, **variables: str) -> None:
    """``python -m`` of this interpreter in the project; what it says goes where ours does, and so does its failure."""
    own = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = os.environ | {"PATH": own, "DO_NOT_TRACK": os.environ.get("DO_NOT_TRACK", "1")} | variables
    done = subprocess.run([sys.executable, "-m", *command], env=environment, check=False)  # noqa: S603 - fixed words
    if done.returncode:
        raise typer.Exit(done.returncode if done.returncode > 0 else 1)


def upgrade(
    difference: Annotated[
        bool, typer.Option("--diff", help="Show every line that changes, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="BRANCH", help="In a clone: the repository's; upstream, unless given."),
    ] = None,
) -> None:
    """Bring the project's files to the installed version: shows what changes first, keeps what you changed.

    Published rounds stay as they are. Commit the result, then go on as before. In a clone of the repository: merge its
    newest programs, and keep ledger, data and settings; this is committed.
    """
    from diva.store import atomic, paths
    from diva.versions import library, scaffold

    if not library.is_installed():
        _upgrade_clone(source, difference, yes)
        return
    listed, (text, values) = scaffold.changes(), params.read()
    lacking = scaffold.lacking_settings(values)
    if difference:
        typer.echo("\n".join(change.difference for change in listed if change.kind != "yours"))
        return
    before, now = library.recorded()["version"], library.version()
    console.show([("from", before), ("to", now), *_facts(listed), *_settings(lacking)], caveats=_caveats(listed))
    if library.recorded()["library"] == library.installed_digests() and not listed and not lacking:
        return
    if not yes:
        typer.confirm("Go on?", abort=True)
    text = _completed(text, values, lacking)
    scaffold.upgrade(listed)
    atomic.write_text(paths.PARAMS, text)
    console.show([("next", "git diff, git add -A, git commit -m 'Upgrade', then diva run or the next night")])


def _upgrade_clone(source: str | None, difference: bool, yes: bool) -> None:
    """Merge the repository's programs into a clone of it."""
    from diva.versions import locks, scaffold, upstream

    with locks.exclusive():
        ref, (text, values) = upstream.fetched(source), params.read()
        missing, lacking = upstream.commits(ref), scaffold.lacking_settings(values, upstream.settings(ref))
        if difference:
            typer.echo(upstream.difference(ref))
            return
        newest = missing[0] if missing else "nothing that is not here"
        console.show([("from", ref), ("commits", f"{len(missing)}, the newest: {newest}"), *_settings(lacking)])
        if not missing and not lacking:
            return
        if not yes:
            typer.confirm("Go on?", abort=True)
        upstream.merge(ref, _completed(text, values, lacking))
        console.show([("next", "make install, diva verify --all, then make curate or the next night")])


def _completed(text: str, values: dict[str, Any], lacking: dict[str, dict[str, object]]) -> str:
    """The text of params.yaml with the settings that it lacks."""
    from diva.ingest import project

    for name, keys in lacking.items():
        text = project.edited(text if name in values else f"{text.rstrip()}\n\n{name}: {{}}\n", name, keys)
    return text


def _facts(listed: "list[Change]") -> list[tuple[str, str]]:
    shown = {"new": "new", "changed": "changed", "gone": "deleted"}
    return [
        (shown[change.kind], f"{change.path} (+{change.added} −{change.removed})")
        for change in listed
        if change.kind in shown
    ]


def _settings(lacking: dict[str, dict[str, object]]) -> list[tuple[str, str]]:
    return [("setting", f"{name}.{key}: {value}") for name, keys in lacking.items() for key, value in keys.items()]


def _caveats(listed: "list[Change]") -> tuple[str, ...]:
    return tuple(
        f"{change.path} was changed here and in the new version: yours stays; compare it with "
        f"the library's (+{change.added} −{change.removed} lines): diva upgrade --diff shows the others, and "
        f"`diva demo --no-run FOLDER` writes it." for change in listed if change.kind == "yours"
    )  # fmt: skip
