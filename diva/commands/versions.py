"""Commands about versions: ``versions``, ``show``, ``diff``, ``rollback``, ``verify``, ``export``, ``compact``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diva.commands import console
from diva.text.words import amount

if TYPE_CHECKING:
    from diva.versions.verify import Verification


def versions() -> None:
    """List what was published: version, date, newest round, size, added, removed, test error."""
    from diva.versions import history, published

    listing = published.versions()
    if not listing:
        console.show((), caveats=("nothing is published yet; `diva night` publishes a version",))
        return
    console.show((), [history.listed(listing, published.current())])


def show(version: Annotated[str | None, typer.Argument(help="What lies here, unless given.")] = None) -> None:
    """Show a version: class balance, weights, and the data, network, settings and code it came from."""
    from diva.versions import portrait, published

    console.show(*portrait.shown(published.find(version)))


def diff(
    before: Annotated[str, typer.Argument(metavar="A")],
    after: Annotated[str | None, typer.Argument(metavar="B", help="What lies here, unless given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every sample, for programs.")] = False,
) -> None:
    """Say what changed from version A to B: added, removed, relabelled, reweighted, by class."""
    from diva.versions import difference, portrait, published

    old, new = published.find(before), published.find(after)
    rows = difference.between(old, new)
    if as_json:
        text = json.dumps(difference.as_json(old.name, new.name, rows), ensure_ascii=False, indent=2)
        print(text.translate({code: f"\\u{code:04x}" for code in range(127, 160)}))  # would steer a terminal
    else:
        console.show(*portrait.changed(old, new, rows))


def verify(
    version: Annotated[str | None, typer.Argument(help="What lies here, else the newest, unless given.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every version.")] = False,
    images: Annotated[bool, typer.Option("--images", help="Also hash images that lie outside data/.")] = False,
) -> None:
    """Verify a version: hash all that it holds, compute it again, and say which file differs.

    Exit code 1 where one does. The work tree is neither read nor changed. Images in place are no part of a version:
    how many of its training set are gone is said; --images counts them as faults, and those that changed.
    """
    from diva.versions import published
    from diva.versions import verify as content

    wanted = (everything and version is None and published.versions()) or [published.find(version)]
    faults = [_judged(verdict) for verdict in content.verify(wanted, everything)]
    for published_version in wanted:
        lost = content.lost_images(published_version, images)
        faults.append(len(lost) * images)
        if lost:
            how = f"{'is' if len(lost) == 1 else 'are'} gone" + " or changed" * images
            said = f"{amount(len(lost), 'image')} of {published_version.name} {how} (first: {lost[0]})"
            console.show((), caveats=(said,))
    if any(faults):
        raise typer.Exit(1)


def _judged(verdict: "Verification") -> int:
    """A line on a version, and what is wrong with it; how many faults there are."""
    faults = len(verdict.faults)
    outcome = amount(faults, "fault") if faults else "as published"
    work = f"{amount(verdict.files, 'file')} hashed, {amount(verdict.rounds, 'round')} applied again"
    console.show(
        [(verdict.version.name, f"{outcome}: {work}")],
        caveats=tuple(f"{fault.path} must be {fault.expected}, got {fault.got}" for fault in verdict.faults),
    )
    return faults


def rollback(version: Annotated[str, typer.Argument()]) -> None:
    """Go back to a version: its ledger, lock file, metrics and data, as a new commit. No version is lost.

    The next round continues from there. Takedowns since then stay in force.
    """
    from diva.versions import published, reviews, sync

    with sync.in_step(strict=True) as notes:
        target = published.find(version)
        takedowns = reviews.roll_back(target)
    stay = "all versions, later ones too" + (f"; {amount(takedowns, 'takedown')} since then" if takedowns else "")
    console.show(
        [
            *(("here now", f"{target.name}, {target.round}"), ("kept", stay)),
            ("next", "the next round continues from here"),
            *(("pushed", note) for note in notes),
        ]
    )


def export(
    version: Annotated[str, typer.Argument(metavar="VERSION|SUGGESTED")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="A new or an empty folder.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="imagefolder, fiftyone, csv, parquet, hf, webdataset, coco, labelstudio, cvat, "
            "croissant; of SUGGESTED: labelstudio, cvat or csv.",
        ),
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy images instead of linking them.")] = False,
    prefix: Annotated[str | None, typer.Option(help="Of SUGGESTED: before image paths, such as a URL.")] = None,
) -> None:
    """Write a version's training set for other tools, and its data card, README.md.

    A folder per class, what FiftyOne, Label Studio or CVAT imports, a table, a Hugging Face data set,
    WebDataset shards, COCO, or Croissant.

    SUGGESTED: the samples to label next, as tasks for Label Studio with the model's predictions, or as a table.
    """
    if version == "SUGGESTED":
        from diva.versions import tasks

        count = tasks.export_tasks(form or "labelstudio", to, copy=copy, prefix=prefix)
        console.show([("wrote", f"{to}: {amount(count, 'task')}"), ("next", "diva label FILE brings the labels back")])
        return
    from diva.versions import export as content
    from diva.versions import portrait, published

    form = form or "imagefolder"
    source = published.find(version)
    count = content.export(source, form, to, copy=copy, facts=portrait.shown(source)[0])
    console.show([("wrote", f"{to}: {amount(count, 'sample')} of {source.name} as {form}")])


def compact() -> None:
    """Start the history anew at the newest set: what it needs becomes data/base; a new version publishes that."""
    from diva.store import paths
    from diva.versions import compact as content
    from diva.versions import reviews
    from diva.versions import sync as step

    with step.in_step(strict=True) as notes:
        reviews.enforce()
        name = content.compact()
    pushed = [("pushed", note) for note in notes]
    console.show(
        [("published", f"{name}; the history starts in {paths.BASE}"), ("kept", "all earlier versions"), *pushed]
    )


def sync(
    remote: Annotated[str | None, typer.Argument(help="A git remote; that of the nights, unless given.")] = None,
) -> None:
    """Put what is yours on top of what others published: for clones that have diverged from the remote of the nights.

    Versions of the remote stay as they are; accepted batches, decisions and rounds of this clone follow them.
    """
    from diva.versions import remote as shared
    from diva.versions import sync as content
    from diva.versions.locks import exclusive

    target = remote or shared.shared()
    if not target:
        raise ValueError("REMOTE must be named where no night has pushed yet: `diva sync REMOTE`.")
    with exclusive():
        console.show([("synced", sentence) for sentence in content.sync(target)])
