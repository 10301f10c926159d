"""Versions: annotated tags ``curated@v<major>.<minor>.<patch>``, each the commit point of what was published.

A version holds, in git, the ledger, ``dvc.lock`` and the metrics; all else is named there by its md5 and lies in DVC's
cache or on its remote. Listing versions asks git twice, however many there are, and DVC never.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from diva.store import paths
from diva.versions.processes import git
from diva.versions.repository import objects

NAME = re.compile(r"^(?:curated@)?v(\d+)\.(\d+)\.(\d+)$")
HISTORY = ("download", "extract", "fit", "pool", "score", "start", "base")  # stages that published rounds rest on
EVALUATE, RELEASE = paths.metrics("evaluate"), paths.metrics("release")


class VersionNumber(NamedTuple):
    """The numbers of a version: the minor one is its round's, the patch counts other states of the same round."""

    major: int
    minor: int
    patch: int = 0

    @property
    def tag(self) -> str:
        """Name of the version's git tag."""
        return f"curated@v{self.major}.{self.minor}.{self.patch}"


def number_of(name: str) -> VersionNumber:
    """A version's numbers; ValueError where the name is none."""
    match = NAME.match(name)
    if match is None:
        raise ValueError(f"name must be curated@v<major>.<minor>.<patch>, got {name}.")
    return VersionNumber(*map(int, match.groups()))


def numbers() -> list[VersionNumber]:
    """Numbers of all versions, in order."""
    listed = git("tag", "--list", "curated@v*").splitlines()
    return sorted(number_of(name) for name in listed if NAME.match(name))


def by_round() -> dict[int, VersionNumber]:
    """The newest version of each published round, by the round's number."""
    return {number.minor: number for number in numbers()}


@dataclass(frozen=True)
class Version:
    """A version, as its metrics tell of it; None where they do not.

    Attributes:
        name: of the tag.
        commit: that it points to.
        date: when it was published, as ISO 8601.
        round: the newest, r000 for the core alone.
        size: samples of the release.
        added: samples that came from the pool, in all rounds together.
        removed: samples taken out, in all rounds together.
        error: test error of the release, with the bounds of its interval of 95 %.
        low: lower bound.
        high: upper bound.
        interim: whether the ridge head judged it alone, as another round followed in its night.
    """

    name: str
    commit: str
    date: str
    round: str | None = None
    size: int | None = None
    added: int | None = None
    removed: int | None = None
    error: float | None = None
    low: float | None = None
    high: float | None = None
    interim: bool = False


def versions() -> list[Version]:
    """All versions, oldest first."""
    form = "%(refname:strip=2) %(*objectname) %(taggerdate:iso-strict)"
    tags = [line.split(" ") for line in git("for-each-ref", f"--format={form}", "refs/tags/curated@v*").splitlines()]
    tagged = sorted((tag for tag in tags if NAME.match(tag[0]) and tag[1]), key=lambda tag: number_of(tag[0]))
    metrics_texts = objects(f"{commit}:./{path.as_posix()}" for _, commit, _ in tagged for path in (EVALUATE, RELEASE))
    pairs = zip(metrics_texts[::2], metrics_texts[1::2], strict=True)
    figures = [_figures(_json(evaluate), _json(release)) for evaluate, release in pairs]
    return [Version(name, commit, date, **values) for (name, commit, date), values in zip(tagged, figures, strict=True)]


def _figures(evaluate: Mapping[str, Any], release: Mapping[str, Any]) -> dict[str, Any]:
    from diva.store.evaluation import release_set  # brings polars

    rounds = evaluate.get("rounds") or [{}]
    used = evaluate.get("release") or release_set(release)
    errors = evaluate.get("sets", {}).get(used, {})
    counts = {name: release.get(key) for name, key in (("size", "samples"), ("added", "added"), ("removed", "removed"))}
    bounds = {name: errors.get(name) for name in ("error", "low", "high")}
    return {"round": rounds[-1].get("round"), **counts, **bounds, "interim": bool(evaluate.get("interim"))}


def before(version: Version) -> list[Version]:
    """Versions older than this one, oldest first."""
    return [earlier for earlier in versions() if number_of(earlier.name) < number_of(version.name)]


def find(name: str | None = None) -> Version:
    """A version by its name (``curated@v0.3.0``, or ``v0.3.0``); None: the work tree's, else the newest.

    Raises:
        ValueError: there is no such version, or none at all.
    """
    tagged = {version.name: version for version in versions()}
    if not tagged:
        raise ValueError("a version must be published first, got none; `diva night` publishes one.")
    if name is None:
        return tagged[current() or list(tagged)[-1]]
    tag = number_of(name).tag if NAME.match(name) else name
    if tag not in tagged:
        raise ValueError(f"VERSION must be one of {', '.join(list(tagged)[-5:])} (see `diva versions`), got {name}.")
    return tagged[tag]


def current() -> str | None:
    """The newest version whose ledger is the work tree's, to the byte; None where the ledger is not published."""
    names = [number.tag for number in reversed(numbers())]
    if not names or not paths.LEDGER.is_file():
        return None
    content = paths.LEDGER.read_bytes()
    stored = objects(f"{name}:./{paths.LEDGER.as_posix()}" for name in names)
    return next((name for name, ledger in zip(names, stored, strict=True) if ledger == content), None)


def next_major(round_: str) -> str:
    """The name of this round's state in a new major version."""
    return VersionNumber(numbers()[-1].major + 1, int(round_[1:])).tag


def next_name(version: str | None) -> str:
    """The name of another state of the same round: the patch number after that of all its versions.

    A round's own name comes from the flow that publishes it: curated@v<major>.<round>.0.
    """
    wanted = number_of(version) if version else VersionNumber(0, 0, -1)
    taken = [number.patch for number in numbers() if number[:2] == wanted[:2]]
    return wanted._replace(patch=max([wanted.patch, *taken]) + 1).tag


def _json(content: bytes | None) -> dict[str, Any]:
    try:
        mapping = json.loads(content or b"{}")
    except ValueError:
        return {}
    return mapping if isinstance(mapping, dict) else {}
