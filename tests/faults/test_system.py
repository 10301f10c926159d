"""Faults around the pipeline: ledger and tags changed by hand, git, DVC's cache and remote, the clock, a second run."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diva.store import ledger, paths
from diva.versions import contents, published, verify
from diva.versions.cache import LOCK
from diva.versions.locks import SCRATCH
from tests.faults.case import REFUSED, UNHARMED, Case
from tests.faults.system import Scene, second_night
from tests.projects.checkout import Project
from tests.projects.in_process import at
from tests.soak.disturbances import away, two_at_once

pytestmark = pytest.mark.xdist_group("flows")
Change = Callable[[Project], object]


@pytest.fixture(autouse=True)
def _never_hangs() -> None:
    """Runs have limits of their own."""


@pytest.fixture
def before(deployed: Project, grown: Project, tmp_path: Path) -> Iterator[Scene]:
    """Before the second night."""
    scene = second_night(deployed, grown, tmp_path / "project")
    with at(scene.project):
        yield scene


def in_ledger(old: str, new: str) -> Change:
    def change(project: Project) -> None:
        text = paths.LEDGER.read_text()
        assert old in text
        paths.LEDGER.write_text(text.replace(old, new, 1))

    return change


def moved(project: Project) -> None:
    """The tag of the newest round, elsewhere."""
    project.git("tag", "--force", "--annotate", "-m", "x", "curated@v0.1.0", f"{first_commit(project)}^{{commit}}")


def first_commit(project: Project) -> str:
    return project.git("rev-list", "--max-parents=0", "HEAD")


def put_back(project: Project) -> None:
    project.git("checkout", "--quiet", "curated@v0.1.0", "--", "data/ledger.yaml")


def tag_put_back(project: Project) -> None:
    commit = project.git("log", "--format=%H", "--grep", "^Round r001")
    project.git("tag", "--force", "--annotate", "-m", "Round r001", "curated@v0.1.0", commit)


HAND = [
    Case("an unknown key in the ledger", "by hand", "surprise: 1", REFUSED).param(
        in_ledger("latest:", "surprise: 1\nlatest:"), put_back, "data/ledger.yaml: surprise"
    ),
    Case("broken YAML in the ledger", "by hand", "a bracket too many", REFUSED).param(
        in_ledger("latest: r001", "latest: [r001"), put_back, "data/ledger.yaml must be readable YAML"
    ),
    Case("a predecessor that is not there", "by hand", "r001 after r007", REFUSED).param(
        in_ledger("previous: r000", "previous: r007"), put_back, "rounds.r001.previous must be r000"
    ),
    Case("an empty ledger", "by hand", "no byte in it", REFUSED).param(
        lambda _: paths.LEDGER.write_text(""), put_back, "data/ledger.yaml"
    ),
    Case("no ledger", "by hand", "it was deleted", REFUSED).param(
        lambda _: paths.LEDGER.unlink(), put_back, "data/ledger.yaml must exist"
    ),
    Case("history rewritten in the ledger", "by hand", "another budget for a published round", REFUSED).param(
        in_ledger("budget: null", "budget: 7"), put_back, "rounds.r001 must be as curated@v0.1.0 published it"
    ),
    Case("a batch exchanged in the ledger", "by hand", "it names another delivery", REFUSED).param(
        lambda _: ledger.write(paths.LEDGER, exchanged()), put_back, "must be as curated@v0.1.0 published it"
    ),
    Case("a tag that points elsewhere", "by hand", "the newest version's, at the first commit", REFUSED).param(
        moved, tag_put_back, "curated@v0.1.0"
    ),
]  # fmt: skip


def exchanged() -> ledger.Ledger:
    content = ledger.read().model_dump()
    entry = content["batches"]["b001"]
    content["batches"]["b001"] = entry | {"source": "deliveries/other"}
    return ledger.validated(content)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "change", "undo", "words"), HAND)
def test_history_changed_by_hand_is_refused_with_the_way_back(
    before: Scene, case: Case, change: Change, undo: Change, words: str
) -> None:
    change(before.project)
    before.refused(words)
    undo(before.project)
    before.completes()


def cut(_: Project) -> None:
    text = LOCK.read_text()
    LOCK.write_text(text[: len(text) // 2])


def overwritten(_: Project) -> None:
    paths.curated("r001").chmod(0o644)
    paths.curated("r001").write_bytes(b"rotten")


def cached(project: Project) -> list[Path]:
    return sorted(path for path in Path(".dvc/cache/files").rglob("*") if path.is_file())


def every_third_lost(project: Project) -> None:
    for path in cached(project)[::3]:
        path.unlink()


def caches_lost(project: Project) -> None:
    for path in cached(project):
        path.unlink()


def records_broken(_: Project) -> None:
    SCRATCH.mkdir(parents=True, exist_ok=True)
    (SCRATCH / "rwlock").write_text('{"read": {"/x": [')


def stale_temporaries(_: Project) -> None:
    for folder in ("curated", "pool", "features"):
        (paths.DATA / folder / ".x.parquet.17.tmp").write_bytes(b"half")
    paths.curated("r009").write_bytes(b"of a round that there never was")


def clock_back(project: Project) -> None:
    """Today is two years ago; files are of the future."""
    for name in ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"):
        os.environ[name] = "2024-03-01T02:00:00+0000"  # the fixture puts it back
    for number, path in enumerate(sorted(paths.DATA.rglob("*"))):
        os.utime(path, (4e9 - number, 4e9 - number), follow_symlinks=False)


ALONE = [
    Case("dvc.lock cut short", "cache", "half of it, as a killed DVC leaves it", UNHARMED).param(cut),
    Case("dvc.lock deleted", "cache", "there is none", UNHARMED).param(lambda _: LOCK.unlink()),
    Case("DVC's list of processes cut short", "cache", "half of it", UNHARMED).param(records_broken),
    Case("a published set overwritten", "cache", "other bytes where it lies", UNHARMED).param(overwritten),
    Case("files of DVC's cache lost", "cache", "every third", UNHARMED).param(every_third_lost),
    Case("DVC's cache lost", "cache", "all of it", UNHARMED).param(caches_lost),
    Case("what a killed stage left", "cache", "temporary files, a set of no round", UNHARMED).param(stale_temporaries),
    Case("a clock that goes backwards", "clock", "commits before their parents, files of the future", UNHARMED).param(
        clock_back
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "change"), ALONE)
def test_what_can_be_put_right_is_put_right(before: Scene, case: Case, change: Change) -> None:
    change(before.project)
    before.completes()


@pytest.mark.slow
@Case("a lock that git left behind", "git", ".git/index.lock of a killed git", REFUSED).test
def test_a_lock_of_git_is_named(before: Scene) -> None:
    Path(".git/index.lock").touch()
    before.refused("index.lock", "remove the file")
    Path(".git/index.lock").unlink()
    before.completes()


@pytest.mark.slow
@Case("a remote that is gone", "remote", "before the run and until its end", REFUSED).test
def test_without_the_remote_nothing_is_published(before: Scene) -> None:
    with away(before.project.root / ".remote"):
        before.refused("dvc push failed")
    assert before.completes().stages == set(), "only the push was missing"


@pytest.mark.slow
@Case("a remote that fails in the middle", "remote", "it takes some files and no more", REFUSED).test
def test_a_push_that_stops_half_way_publishes_nothing(before: Scene) -> None:
    files = before.project.root / ".remote/files/md5"
    closed = [files / f"{number:02x}" for number in range(0, 256, 3)]
    kept = {folder: folder.with_name(f"{folder.name}.away") for folder in closed}
    for folder, aside in kept.items():
        if folder.exists():
            folder.rename(aside)
        folder.write_text("closed")
    before.refused("dvc push failed")
    for folder, aside in kept.items():
        folder.unlink()
        if aside.exists():
            aside.rename(folder)
    before.completes()


def lost(path: Path) -> None:
    path.unlink()


def rotten(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"rotten")


REMOTE = [
    Case("a file of the remote lost", "remote", "a published set", REFUSED).param(lost, "nothing: neither"),
    Case("a file of the remote changed", "remote", "a published set", REFUSED).param(rotten, "DVC's remote"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "harm", "words"), REMOTE)
def test_what_the_remote_lost_is_named_in_a_clone_and_mended_from_where_it_was_made(
    deployed: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: Case,
    harm: Callable[[Path], None],
    words: str,
) -> None:
    project = deployed.copy(tmp_path / "project")
    clone = project.clone(tmp_path / "clone")
    clone.dvc("remote", "modify", "--local", "local", "url", str(project.root / ".remote"))
    monkeypatch.chdir(clone.root)
    whole = next(fault for fault in verify.verify([published.find()])).faults
    assert whole == ()
    md5 = contents.outputs(published.find().commit)["data/curated/r001.parquet"]
    there = project.root / ".remote/files/md5" / md5[:2] / md5[2:]
    harm(there)
    (verdict,) = verify.verify([published.find()])
    (fault,) = verdict.faults
    assert fault.path == "data/curated/r001.parquet"
    assert words in fault.got
    there.unlink(missing_ok=True)
    project.dvc("push")
    assert next(iter(verify.verify([published.find()]))).faults == ()


@pytest.mark.slow
@Case("two runs at once", "runs", "a second one while the first is at work", REFUSED).test
def test_of_two_runs_the_second_ends_at_once(before: Scene) -> None:
    two_at_once(before.project, random.Random(0), 1.0)  # noqa: S311 - not for secrets
    before.completes()


@pytest.mark.slow
@Case("code changed during the run", "runs", "a file of a stage edited while stages run", REFUSED).test
def test_code_that_no_commit_records_is_refused(before: Scene) -> None:
    source = Path("stages/pool.py")
    whole = source.read_text()
    source.write_text(whole + "# edited\n")
    before.refused("must be committed", "stages/pool.py")
    source.write_text(whole)
    before.completes()
