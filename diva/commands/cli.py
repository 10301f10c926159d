"""The ``diva`` command: of the library, it alone (with ``diva.commands``) prints and touches params.yaml.

    diva init      a project for one's own data: params.yaml and data/ledger.yaml, and all else in a new folder
    diva demo      a new folder with the embedded example, and its run
    diva run       check params.yaml, run the pipeline, print what happened;  diva night: take in deliveries, publish
    diva upgrade   bring the project's files to the installed version
    diva add       one more delivery, to pool, core or test set
    diva plan      what a run will cost
    diva summary   what the last run did;  diva report --format md: the same for a pull request
    diva why       what the others say of a sample, whom it helps and harms
    diva versions  what was published;  diva show, diva diff: one version, and what changed between two
    diva verify    hash and compute again what a version holds
    diva rollback  go back to a version;  diva export: its training set for other tools
    diva review    decide about samples in the report, on this machine or from its review.csv
    diva label     bring labels of samples that wait for one
    diva forget    take samples down;  diva relabel: correct labels of accepted batches
    diva compact   start the history anew at the newest set
    diva sync      put what is yours on top of what other operators published

Mistakes are one message on stderr: exit code 2 where the command line is wrong, 1 where what it names is.
Each command imports what it needs itself, so that none waits for what another needs (torch takes seconds).
"""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from diva.commands import project, projects, reviews, versions
from diva.text.harmless import plain, spare_encodings

app = typer.Typer(
    help="Versioned, curated training sets by the derivative of the leave-one-out loss.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class OnceCommand(typer.core.TyperCommand):
    """A command whose options may stand once, but for those that take several values: elsewhere the last would win."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What the options say; a usage error where one stands twice."""
        before = args[: args.index("--")] if "--" in args else args
        given = [word.partition("=")[0] for word in before if word.startswith("--")]
        for option in self.params:
            single = isinstance(option, typer.core.TyperOption) and not (option.multiple or option.is_flag)
            if single and sum(map(given.count, option.opts)) > 1:
                raise typer.BadParameter("it may stand once", ctx, param_hint=repr(option.opts[0]))
        return super().parse_args(ctx, args)


def main() -> None:
    """Run the command; a mistake is a message on stderr, never a traceback."""
    spare_encodings()
    try:
        app()
    except (ValueError, OSError) as error:
        sys.stderr.write(plain(f"diva: {error}\n"))
        sys.exit(1)


def _in_project(command: Callable[..., None]) -> Callable[..., None]:
    """The command, refused in one sentence where no project lies: each is about what lies here."""

    @functools.wraps(command)
    def checked(*arguments: object, **options: object) -> None:
        from diva.store import paths
        from diva.versions import library, scaffold

        if not scaffold.is_project():
            raise ValueError(
                f"{Path.cwd()} must be a project's folder, got none of {paths.PARAMS} and {paths.LEDGER}; go to one, "
                "or begin one here: diva init --core SOURCE."
            )
        if command is not projects.upgrade:
            library.require_recorded()
        command(*arguments, **options)

    return checked


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"diva {version('diva-curation')}")
        raise typer.Exit


@app.callback()
def diva(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Versioned, curated training sets by the derivative of the leave-one-out loss."""


app.command(cls=OnceCommand)(project.init)
app.command(cls=OnceCommand)(projects.demo)
app.command(**projects.PASSED_ON)(_in_project(projects.night))
for command in (
    *(projects.run, project.add, project.plan, project.summary, project.report, project.why, projects.upgrade),
    *(versions.versions, versions.show, versions.diff, versions.verify, versions.rollback, versions.export),
    *(reviews.review, reviews.label, reviews.forget, reviews.relabel),
    *(versions.compact, versions.sync),
):
    app.command(cls=OnceCommand)(_in_project(command))


if __name__ == "__main__":
    main()
