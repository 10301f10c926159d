"""Two operators with a clone each, one git remote and one DVC remote, in any order of doing: a model of their project.

    python -m tests.flows.operators --runs 200 --steps 15

Git, DVC, the flows' functions and the ``diva`` commands are the real ones; Prefect looks on nowhere, DVC, the stages
(light stand-ins for those that import torch) and first looks at deliveries run in this process, as one that is started
for each would take hours. A kill is an error that no handler can catch up with: from the chosen step on, every command
and every write fails.
"""

import argparse
import contextlib
import importlib
import io
import json
import logging
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.projects.checkout import Project
from tests.projects.in_process import at
from tests.projects.nightly import create

SIZE = 4  # images of a delivery
NAMES = ("a", "b")
NIGHT = {"git_remote": "origin"}
LONGEST = 130  # steps: a compaction takes 66, a night with a delivery up to 120


class Killed(BaseException):
    """The process is gone."""


class Steps:
    """Counts commands and writes; from a chosen one on, all of them fail."""

    def __init__(self) -> None:
        self.remaining: int | None = None

    def step(self) -> None:
        """Another one; Killed where none remains."""
        if self.remaining is None:
            return
        if self.remaining == 0:
            raise Killed
        self.remaining -= 1

    def hooked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, as a step."""

        def run(*arguments: Any, **options: Any) -> Any:
            self.step()
            return function(*arguments, **options)

        return run


STEPS = Steps()


def stage(command: str) -> None:
    """What ``python -m stages.<verb>`` or ``python light.py <verb>`` does, here."""
    from tests.projects import light

    STEPS.step()
    words = shlex.split(command)
    if words[1] == "light.py":
        light.VERBS[words[2]](*words[3:])
        return
    module = importlib.import_module(words[2])
    run = getattr(module, "main", None) or getattr(module, words[2].rpartition(".")[2])
    run(*words[4::2])


def stages_here(stage_: Any, dry: bool = False, run_env: Any = None) -> None:
    """In place of DVC's function that starts a stage's command."""
    from dvc.stage.exceptions import StageCmdFailedError

    try:
        stage(stage_.cmd)
    except (ValueError, OSError) as error:
        raise StageCmdFailedError(f"{stage_.cmd}: {error}", 1) from error


def stream(command: Sequence[str], log: Callable[[str], None], lock: object = None, name: str = "") -> None:
    """A DVC command in this process; git's in one of its own."""
    from dvc.cli import main

    from diva.versions import processes, reproduction, transfer

    STEPS.step()
    words = list(map(str, command))
    if words[2:3] == ["stages.fork_server"]:  # stages run in this process, so there is nothing to fork for
        words = words[3:]
    here = {"dvc": main, transfer.__name__: transfer.transfer, reproduction.__name__: reproduction.reproduce}
    if words[1:2] == ["-m"]:
        with heard() as text:
            status = here[words[2]](words[3:])
    else:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        status, text = done.returncode, io.StringIO(done.stdout + done.stderr)
    if status:
        said = text.getvalue()
        raise processes.kind(said)(f"{processes.remedy(said)}{' '.join(words)} failed:\n{said}")


@contextlib.contextmanager
def heard() -> Iterator[io.StringIO]:
    """What is said on both streams within the block."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        yield text


class Dumper(yaml.CSafeDumper):
    """What DVC writes: its ordered mappings are plain ones, nothing is an alias."""

    ignore_aliases = staticmethod(lambda _: True)


Dumper.add_representer(OrderedDict, lambda dumper, content: dumper.represent_dict(content.items()))


def parsed(text: str, path: object, typ: str = "safe") -> Any:
    """YAML as DVC reads it, by the parser in C, and each text once: most of a night's time is the other one's."""
    return json.loads(_parsed(text))


@lru_cache(512)
def _parsed(text: str) -> str:
    return json.dumps(yaml.load(text, yaml.CSafeLoader) or {})


def look(path: Path, source: str, to: str = "pool") -> tuple[str, str]:
    """A first look at a delivery in this process."""
    from flows import inspection

    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = inspection.main(source, to)
    line = said.getvalue().strip()
    return ("", line) if status else (line, "")


def dumped(content: Any, stream: Any) -> None:
    """YAML as DVC writes it."""
    yaml.dump(content, stream, Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True)


@contextlib.contextmanager
def in_this_process() -> Iterator[None]:
    """Flows without Prefect, DVC and stages without processes."""
    import dvc.rwlock
    import dvc.stage.run
    import dvc.utils.strictyaml
    from dvc.utils.serialize import _yaml
    from prefect import Task

    from diva.store import atomic, ledger
    from diva.versions import pipeline, processes
    from flows import artifacts, extend, inspection, nightly

    with pytest.MonkeyPatch.context() as patch:
        for module in (extend, nightly):
            for name, value in list(vars(module).items()):
                if isinstance(value, Task):
                    patch.setattr(module, name, value.fn)
        # assets are what Prefect shows of a version
        patch.setattr(extend, "tag", SimpleNamespace(with_options=lambda publish=extend.tag, **_: publish))
        patch.setattr(extend, "show", lambda *_, **__: None)
        patch.setattr(artifacts, "show_deliveries", lambda _: None)
        patch.setattr(inspection, "look", look)
        patch.setattr(dvc.stage.run, "cmd_run", stages_here)
        patch.setattr(_yaml, "parse_yaml", parsed)
        patch.setattr(dvc.utils.strictyaml, "parse_yaml", parsed, raising=False)
        patch.setattr(_yaml, "_dump", dumped)
        patch.setattr(dvc.rwlock, "rwlock", lambda *_, **__: contextlib.nullcontext())  # one process, one command
        patch.setattr(ledger, "parse", lru_cache(256)(ledger.parse))
        patch.setattr(processes, "git_bytes", STEPS.hooked(processes.git_bytes))
        patch.setattr(atomic, "write_text", STEPS.hooked(atomic.write_text))
        patch.setattr(os, "fsync", lambda _: None)  # a kill is no power cut
        for module in (pipeline, processes):
            patch.setattr(module, "stream", stream)
        for name in ("DVC_NO_ANALYTICS", "DO_NOT_TRACK"):
            patch.setenv(name, "1")
        yield


class Clone:
    """An operator's."""

    def __init__(self, root: Path, name: str) -> None:
        self.project, self.name, self.deliveries = Project(root / name), name, 0

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """This process in the clone, remembering nothing of the other."""
        from diva.versions import cache, closure, contents

        for remembered in (cache.listing, contents.outputs, closure.imports):
            remembered.cache_clear()
        with at(self.project):
            yield

    def tags(self) -> dict[str, str]:
        """The commit of every version."""
        return tagged(self.project.root)


def tagged(root: Path) -> dict[str, str]:
    """The commit of every version that a repository has."""
    form = "--format=%(refname:strip=2) %(*objectname)"
    command = ["git", "-C", str(root), "for-each-ref", form, "refs/tags/curated@*"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split(" ") for line in lines)


def template(root: Path) -> Path:
    """Two clones after their first night, and the remotes."""
    project = create(root / "a")
    project.edit("params.yaml", lambda params: params["duplicates"].update(near_duplicate=None))
    project.run(sys.executable, "-m", "dvc", "remote", "modify", "local", "url", "../../remote")
    project.commit("One remote for all")
    project.git("init", "--quiet", "--bare", "--initial-branch=main", str(root / "git"))
    project.git("remote", "add", "origin", "../git")
    clone = Clone(root, "a")
    deliver(clone)
    with in_this_process(), clone.at_work():
        night()
    project.run("git", "clone", "--quiet", str(root / "git"), str(root / "b"))
    other = project.copy(root / "c")  # its data, too: nothing is to be fetched first
    other.git("remote", "set-url", "origin", "../git")
    shutil.rmtree(root / "b")
    shutil.rmtree(other.root / "deliveries")
    other.root.rename(root / "b")
    return root


def deliver(clone: Clone) -> None:
    """Images of the clone's own in its watched folder, none of them anywhere else."""
    clone.deliveries += 1
    offset = 200 + NAMES.index(clone.name) * 700 + SIZE * clone.deliveries
    clone.project.deliver(f"{clone.name}{clone.deliveries}", offset, SIZE)


def night() -> str:
    """The flow's function; what it said at its end."""
    from flows import nightly

    return str(nightly.nightly.fn(**NIGHT).message)


class Operators(RuleBasedStateMachine):
    """What two operators do, and what must hold whatever they do."""

    source: Path  # of the template
    ended = 0  # runs that came to their end, and held

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="operators-")
        self.root = Path(self.folder.name) / "project"
        shutil.copytree(self.source, self.root, symlinks=True)
        self.clones = {name: Clone(self.root, name) for name in NAMES}
        self.clones["a"].deliveries = 1
        self.patch = in_this_process()
        self.patch.__enter__()
        self.commits: dict[str, str] = {}  # of every version that there ever was
        self.gone: set[str] = set()
        self.of_test: dict[str, set[str]] = {name: set() for name in NAMES}  # decided on, and committed
        self.checked: set[tuple[str, str]] = set()

    def teardown(self) -> None:
        try:
            self.come_back()
            self.all_end_well()
            type(self).ended += 1
            sys.stderr.write(f"{self.ended} runs held\n")
        finally:
            self.patch.__exit__(None, None, None)
            self.folder.cleanup()

    clone = st.sampled_from(NAMES)
    moment = st.none() | st.integers(0, LONGEST)

    def act(self, name: str, action: Callable[[], object], moment: int | None) -> bool:
        """Something that an operator does, or is killed at; whether it came to its end."""
        clone = self.clones[name]
        STEPS.remaining = moment
        try:
            with clone.at_work(), heard():
                action()
        except Killed:
            return False
        except ValueError:
            return False
        finally:
            STEPS.remaining = None
        return True

    def away(self) -> bool:
        """Whether a remote does not answer."""
        return any((self.root / f"{which}.away").exists() for which in ("git", "remote"))

    @rule(name=clone)
    def delivery(self, name: str) -> None:
        """Images arrive."""
        if self.clones[name].deliveries < 12:
            deliver(self.clones[name])

    @rule(name=clone, moment=moment)
    def night(self, name: str, moment: int | None) -> None:
        """The flow; undisturbed it succeeds, or names the command after which it does."""
        if moment is not None or self.away():
            self.act(name, night, moment)
        else:
            self.night_succeeds(name)

    def night_succeeds(self, name: str) -> None:
        """By no other means than the commands that its messages name."""
        from diva.store import test_decisions

        clone = self.clones[name]
        with clone.at_work(), heard():
            try:
                night()
            except ValueError as error:
                if "`diva sync`" not in str(error):
                    raise
                self.synced()
                night()
            assert self.of_test[name] <= set(test_decisions.read()["sample_id"]), "a decision on the test set is lost"

    @staticmethod
    def synced() -> None:
        """``diva sync``."""
        from diva.commands import versions

        versions.sync(None)

    @rule(name=clone, moment=moment)
    def sync(self, name: str, moment: int | None) -> None:
        """Also where nothing asks for it."""
        self.act(name, self.synced, moment)

    @rule(name=clone, chance=st.integers(0, 999), moment=moment)
    def forget(self, name: str, chance: int, moment: int | None) -> None:
        """A takedown."""
        from diva.commands import reviews

        def action() -> None:
            from diva.versions import takedowns

            sample = self.sample(chance)
            try:
                reviews.forget([sample], why="asked")
            finally:
                if sample in set(takedowns.read()["sample_id"]):
                    self.gone.add(sample)

        self.act(name, action, moment)

    @rule(name=clone, chance=st.integers(0, 999), moment=moment)
    def relabel(self, name: str, chance: int, moment: int | None) -> None:
        """A correction."""
        from diva.commands import reviews

        def action() -> None:
            fixes = Path("fixes.csv")
            fixes.write_text(f"sample_id,label\n{self.sample(chance)},{chance % 10}\n")
            reviews.relabel(fixes)

        self.act(name, action, moment)

    @rule(name=clone, chance=st.integers(0, 999), moment=moment)
    def review(self, name: str, chance: int, moment: int | None) -> None:
        """A decision."""
        from diva.commands import reviews

        def action() -> None:
            file = Path("review.csv")
            file.write_text(f"sample_id,decision,label,note\n{self.sample(chance)},accept,,looks right\n")
            reviews.review(apply=file, serve=False, port=0, finish=False)

        self.act(name, action, moment)

    @rule(name=clone, chance=st.integers(0, 999), moment=moment)
    def review_of_test(self, name: str, chance: int, moment: int | None) -> None:
        """A decision on a sample of the test set."""
        from diva.commands import reviews
        from diva.versions.reviews import tested

        def action() -> None:
            sample = tested()["sample_id"].sort()[chance % 40]
            file = Path("review.csv")
            file.write_text(f"sample_id,decision,label,note\n{sample},relabel,{chance % 10},\n")
            reviews.review(apply=file, serve=False, port=0, finish=False)
            self.of_test[name].add(sample)

        self.act(name, action, moment)

    @staticmethod
    def sample(chance: int) -> str:
        """Of the newest set that lies here."""
        from diva.store import curated, ledger

        names = curated.read(ledger.read().latest)["sample_id"].sort()
        return str(names[chance % len(names)])

    @rule(name=clone, chance=st.integers(0, 9), moment=moment)
    def rollback(self, name: str, chance: int, moment: int | None) -> None:
        """To any version."""
        from diva.commands import versions

        names = sorted(self.clones[name].tags())
        self.act(name, lambda: versions.rollback(names[chance % len(names)]), moment)

    @rule(name=clone, moment=moment)
    def compact(self, name: str, moment: int | None) -> None:
        """A shorter history."""
        from diva.commands import versions

        self.act(name, versions.compact, moment)

    @rule(name=clone, moment=moment)
    def purge(self, name: str, moment: int | None) -> None:
        """Nothing here has what was taken down any longer."""
        from diva.commands import reviews
        from diva.versions import purge, takedowns

        def action() -> None:
            reviews.forget(purge=True)
            assert not purge.present(takedowns.read()["sample_id"])

        self.act(name, action, moment)

    @rule(which=st.sampled_from(["git", "remote"]))
    def goes_away(self, which: str) -> None:
        """A remote."""
        if (self.root / which).exists():
            (self.root / which).rename(self.root / f"{which}.away")

    @precondition(lambda self: self.away())
    @rule()
    def come_back(self) -> None:
        """Both."""
        for which in ("git", "remote"):
            if (self.root / f"{which}.away").exists():
                (self.root / f"{which}.away").rename(self.root / which)

    @invariant()
    def no_version_points_to_two_commits(self) -> None:
        """In no clone, on no remote, at no time."""
        there = self.root / ("git" if (self.root / "git").exists() else "git.away")
        for tags in (tagged(there), *(clone.tags() for clone in self.clones.values())):
            for name, commit in tags.items():
                assert self.commits.setdefault(name, commit) == commit, f"{name} points to two commits"

    @invariant()
    def no_version_holds_what_was_taken_down_before(self) -> None:
        """As far as whoever published it had been told."""
        for clone in self.clones.values():
            for name in clone.tags():
                if (clone.name, name) in self.checked:
                    continue
                self.checked.add((clone.name, name))
                with clone.at_work():
                    holds = published_takedowns(name)
                assert not holds, f"{name} holds {holds}"

    def all_end_well(self) -> None:
        """Each clone takes a night, by the commands that messages name; then both have all that was delivered."""
        for name in (*NAMES, *NAMES):
            self.night_succeeds(name)
        self.no_version_points_to_two_commits()
        logs = {name: clone.project.git("log", "--stat", "-2", "--format=%H %s") for name, clone in self.clones.items()}
        assert len({log.split()[0] for log in logs.values()}) == 1, logs
        for clone in self.clones.values():
            with clone.at_work():
                assert_complete(
                    [(c.name, number) for c in self.clones.values() for number in range(1, c.deliveries + 1)]
                )
                members, listed = standing()
            assert not members & self.gone
            assert self.gone <= listed


def published_takedowns(tag: str) -> set[str]:
    """Samples of a version that its own commit lists as taken down."""
    from diva.versions import contents, published

    version = published.find(tag)
    listing = contents.git_files(version, ["data/takedowns.csv"])
    if not listing:
        return set()
    gone = set(pl.read_csv(next(iter(listing.values())))["sample_id"])
    book = contents.newest_round(version) if "latest: r" in contents.git_text(version, Path("data/ledger.yaml")) else ""
    files = [Path(f"data/curated/{book}.parquet"), Path("data/release/train.parquet")]
    present: set[str] = set()
    for file in files:
        path = None
        with contextlib.suppress(ValueError):
            path = contents.local(version, file)
        if path is not None:
            frame = pl.read_parquet(path)
            rows = frame.filter(pl.col("status") == "member") if "status" in frame.columns else frame
            present |= set(rows["sample_id"]) & gone
    return present


def assert_complete(deliveries: list[tuple[str, int]]) -> None:
    """Every image that was delivered is in the newest index of the pool and in the set, unless it was taken down."""
    from diva.store import curated, digests, index, ledger, manifest, paths
    from diva.versions import takedowns

    book = ledger.read()
    pool = index.read(paths.pool(ledger.newest_pool(book)))
    state = curated.read(book.latest)
    for name, number in deliveries:
        rows = pool.filter(pl.col("path").str.contains(f"deliveries/{name}{number}/", literal=True))
        images = list(Path("..", name, "deliveries", f"{name}{number}").rglob("*.png"))
        ids = {digests.sha256(path)[: manifest.ID_LENGTH] for path in images}
        lost = ids - set(rows["sample_id"]) - set(takedowns.read()["sample_id"])  # a purge takes it out of the index
        assert len(ids) == SIZE
        assert not lost, f"{name}{number}: {len(lost)} of {SIZE} images are not in the pool"
        missing = set(rows["sample_id"]) - set(state["sample_id"])
        assert not missing, f"{name}{number}: {len(missing)} images are in no set"


def standing() -> tuple[set[str], set[str]]:
    """Members of the newest set, and what is listed as taken down."""
    from diva.store import curated, ledger
    from diva.versions import takedowns

    state = curated.read(ledger.read().latest)
    return set(state.filter(pl.col("status") == "member")["sample_id"]), set(takedowns.read()["sample_id"])


def explore(source: Path, runs: int, steps: int, seed: int | None = None) -> int:
    """Run the model, the same runs every time without a seed; how many held."""

    class Here(Operators):
        pass

    Here.source = source
    options = settings(
        max_examples=runs, stateful_step_count=steps, deadline=None, database=None, derandomize=seed is None,
        suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    if seed is not None:
        from hypothesis import seed as seeded

        seeded(seed)(Here)
    run_state_machine_as_test(Here, settings=options)
    return Here.ended


def main() -> None:
    """As many runs as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("runs", 200), ("steps", 15), ("seed", random.SystemRandom().randrange(1 << 30))):
        parser.add_argument(f"--{name}", type=int, default=default)
    told = parser.parse_args()
    logging.disable(logging.WARNING)  # what is refused is judged, not read
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"PREFECT_HOME": folder, "DO_NOT_TRACK": "1", "PREFECT_LOGGING_LEVEL": "CRITICAL"}
        explore(template(Path(folder) / "template"), told.runs, told.steps, told.seed)
    sys.stdout.write(f"{told.runs} runs of up to {told.steps} steps, seed {told.seed}: all invariants held.\n")


if __name__ == "__main__":
    main()
