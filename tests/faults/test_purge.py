"""Takedowns that nothing is to hold any longer: purged from data/ and DVC's cache, also where the purge is killed."""

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pytest

from diva.commands import reviews as commands
from diva.report import thumbnails
from diva.store import curated, index, ledger, manifest, paths
from diva.store.features import FeatureFile
from diva.versions import operations, published, takedowns
from tests.faults.case import UNHARMED, Case
from tests.flows import operators
from tests.flows.operators import Clone, deliver, night

pytestmark = pytest.mark.xdist_group("operators")
IDS_ALONE = (takedowns.FILE, paths.DATA / "reviews")  # what says that they are gone


@pytest.fixture(autouse=True)
def _never_hangs() -> None:
    """Every command ends by itself."""


def traces(gone: Iterable[str]) -> list[Path]:
    """Files here and in DVC's cache with a row, an image or the name of these samples."""
    reviews = {file.read_bytes() for file in (paths.DATA / "reviews").glob("*.parquet")}
    files = [file for folder in (paths.DATA, Path(".dvc")) for file in folder.rglob("*") if file.is_file()]
    return [
        file
        for file in files
        if file != takedowns.FILE and (content := file.read_bytes()) not in reviews and holds(content, file, set(gone))
    ]


def holds(content: bytes, file: Path, gone: set[str]) -> bool:
    if content.startswith(b"PAR1"):
        frame = pl.read_parquet(file)
        return any(gone & set(frame[name]) for name, kind in frame.schema.items() if kind == pl.String)
    return hashlib.sha256(content).hexdigest()[: manifest.ID_LENGTH] in gone or any(
        name.encode() in content for name in gone
    )


def chosen() -> list[str]:
    """A sample of the core, and one of a delivery while there are any."""
    state = curated.read(ledger.read().latest)
    return [name for origin in ("core", "pool") for name in state.filter(origin=origin)["sample_id"][:1]]


def require_consistent() -> None:
    """Every row of index and set is where it says it is."""
    book = ledger.read()
    state, pool = curated.read(book.latest), index.read(paths.pool(ledger.newest_pool(book)))
    for rows in (state, pool, index.read(paths.CORE)):
        for name, row, file in rows.select("sample_id", "row", "features").iter_rows():
            assert FeatureFile(file).sample_id[row] == name
    own = [path for path in [*state["path"], *pool["path"]] if path.startswith(f"{paths.DATA}/")]
    assert own
    assert all(Path(path).is_file() for path in own)


@Case("a purge", "operators", "samples of core and pool; then the other clone's", UNHARMED).test
def test_a_purge_leaves_no_trace_here_and_says_what_is_left_elsewhere(
    pair: tuple[Clone, Clone], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = pair
    with first.at_work():
        gone = chosen()
        paths_ = takedowns.indexed().filter(pl.col("sample_id").is_in(gone))["path"].to_list()
        size = len(curated.read("r001"))
        thumbnails.keep("of the last page", dict.fromkeys(gone, b"an image"))
        commands.forget(gone, why="asked", purge=True)
        said = " ".join(capsys.readouterr().out.split())
        assert "purged 2 samples, from data/ (curated@v1.1.0) and DVC's cache" in said
        assert [path in said for path in paths_] == [False, True]  # a delivery belongs to who delivered it
        assert "git's history, by id alone (data/takedowns.csv)" in said
        assert "`dvc gc --workspace --cloud --force`" in said
        assert "other clones of origin, until `diva forget --purge` in each" in said
        assert traces(gone) == []
        assert len(curated.read("r001")) == size - 2
        require_consistent()
        commands.forget(gone, purge=True)
        assert "(nothing there had any)" in capsys.readouterr().out
        deliver(first)
        assert night() == "Published: curated@v1.2.0."
    deliver(second)
    with second.at_work():
        assert night() == "Published: curated@v1.3.0."
        assert {path.parts[0] for path in traces(gone)} == {".dvc"}  # versions of before, in the cache
        commands.forget(purge=True)
        assert traces(gone) == []
        require_consistent()
    assert first.project.git("rev-parse", "curated@v1.2.0") == second.project.git("rev-parse", "curated@v1.2.0")


def stop(*_: object) -> None:
    """From here on no command and no write succeeds."""
    operators.STEPS.remaining = 0
    raise operators.Killed


def survive(clone: Clone) -> str:
    """What the next command makes of a purge that was killed, or not; then another purge."""
    before = published.versions()
    outcome = operations.settle()
    assert clone.project.git("status", "--porcelain") == ""
    require_consistent()
    commands.forget(purge=True)
    assert traces(takedowns.read()["sample_id"]) == []
    require_consistent()
    assert published.versions()[: len(before)] == before
    return outcome.partition(",")[2]


@Case("a purge killed at any step", "operators", "the next command undoes or finishes it", UNHARMED).test
@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("diva.versions.compact.repository.commit", "is undone: everything is as it was before"),
        ("diva.versions.operations.publish", "purged is complete"),
        ("diva.versions.purge.sweep_cache", "purged is complete"),
    ],
)
def test_a_killed_purge_is_undone_or_finished(pair: tuple[Clone, Clone], step: str, expected: str) -> None:
    clone, _ = pair
    with clone.at_work():
        commands.forget(chosen(), why="asked")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(step, stop)
            with pytest.raises(operators.Killed):
                commands.forget(purge=True)
            operators.STEPS.remaining = None
        assert expected in survive(clone)


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1])
def test_a_purge_killed_at_every_step_is_undone_or_finished(pair: tuple[Clone, Clone], first: int) -> None:
    clone, _ = pair
    outcomes = set()
    with clone.at_work():
        for moment in range(first, 84, 2):  # each takes a sample of the core, which has 60
            commands.forget(chosen(), why="asked")
            operators.STEPS.remaining = moment
            with contextlib.suppress(operators.Killed):
                commands.forget(purge=True)
            operators.STEPS.remaining = None
            outcomes.add(survive(clone))
        deliver(clone)
        assert night().startswith("Published: curated@v")
    assert len(outcomes) == 3  # undone, finished, nothing to do
