"""Faults of labels: what has none, or one that cannot be used, is set aside; a core that cannot be is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from diva.ingest import sources
from diva.store import index, ledger, manifest, paths
from tests.faults.case import REFUSED, SET_ASIDE, UNHARMED, Case
from tests.faults.conftest import GOOD, Undisturbed
from tests.projects import real_stages as project
from tests.report.test_page import known

BAD = Path("bad.npz")
CLASSES = list(project.CLASSES)


def labelled(*more: object) -> Callable[[], Path]:
    """The good rows, and rows with these labels after them."""

    def plant() -> Path:
        labels = [CLASSES[seed % 3] for seed in GOOD] + list(more)
        seeds = [*GOOD, *range(900, 900 + len(more))]
        if any(not isinstance(label, str) for label in more):  # a parquet knows nulls
            rows = np.stack([np.random.default_rng(seed).normal(size=6) + 2 * np.eye(6)[seed % 3] for seed in seeds])
            pl.DataFrame({"features": rows.tolist(), "labels": labels}).write_parquet("bad.parquet")
            return Path("bad.parquet")
        return project.pack(BAD, seeds, labels=labels)

    return plant


def bad(name: str, what: str, plant: Callable[[], Path], *kinds: str) -> object:
    return Case(name, "labels", what, SET_ASIDE).param(plant, kinds)


def hundred_thousand() -> Path:
    """Two numbers a row: what matters are the labels."""
    labels = [CLASSES[seed % 3] for seed in GOOD] + [f"class {number:06d}" for number in range(100_000)]
    own = project.pack(BAD, GOOD)
    with np.load(own, allow_pickle=False) as arrays:
        rows = arrays["features"]
    more = np.random.default_rng(0).normal(size=(100_000, 6)).astype(np.float32)
    return project.pack(BAD, GOOD, features=np.concatenate([rows, more]), labels=np.array(labels))


def conflicting() -> Path:
    own = project.pack(BAD, [*GOOD, 100, 101], labels=[CLASSES[seed % 3] for seed in GOOD] + ["cat", "owl"])
    assert [CLASSES[100 % 3], CLASSES[101 % 3]] == ["dog", "owl"]
    return own


def of_the_core() -> Path:
    return project.pack(BAD, [*GOOD, 0], labels=[CLASSES[seed % 3] for seed in GOOD] + ["owl"])


def of_the_test_set() -> Path:
    return project.pack(BAD, [*GOOD, 50, 51])


def rows(path: Path) -> tuple[np.ndarray, list[str]]:
    """Features and labels of a file of ``project.pack``."""
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["features"], arrays["labels"].tolist()


def of_the_test_set_in_float64() -> Path:
    features, _ = rows(of_the_test_set())
    return project.pack(BAD, [*GOOD, 50, 51], features=features.astype(np.float64))


def of_the_test_set_as_lists() -> Path:
    features, labels = rows(of_the_test_set())
    pl.DataFrame({"features": features.tolist(), "labels": labels}).write_parquet("bad.parquet")
    return Path("bad.parquet")


def of_the_test_set_with_names() -> Path:
    """The good rows under their hashes, as without names; those of the test set under names of their own."""
    known = sources.open_source(str(project.pack(BAD, GOOD)), {}).read(Path()).samples["sample_id"].to_list()
    return project.pack(BAD, [*GOOD, 50, 51], sample_id=np.array([*known, "mine", "too"]))


PLANTED = [
    bad("unknown", "a class that the core lacks", labelled("wolf"), "class the core lacks"),
    bad("100,000 classes", "a delivery with a class of its own for every row", hundred_thousand, *["class the core lacks"] * 100_000),
    bad("conflicting", "equal content under two labels", conflicting, "same content under another label", "same content"),
    bad("conflicting with the core", "content of the core under another label", of_the_core, "already delivered"),
    bad("of the test set", "content of the test set, offered for training", of_the_test_set, "already delivered", "already delivered"),
    bad("of the test set in float64", "the same numbers in twice the bits", of_the_test_set_in_float64, "already delivered", "already delivered"),
    bad("of the test set as lists", "the same numbers in a parquet", of_the_test_set_as_lists, "already delivered", "already delivered"),
    bad("of the test set by other names", "the same numbers under a sample_id of their own", of_the_test_set_with_names, "already delivered", "already delivered"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "plant", "kinds"), PLANTED)
def test_a_row_whose_label_cannot_be_used_is_set_aside_and_changes_nothing(
    pack: Undisturbed, fault: Case, plant: Callable[[], Path], kinds: tuple[str, ...]
) -> None:
    batch = project.half_night(plant())
    refused = project.quarantine(batch)
    assert refused["reason"].str.split(":").list.first().to_list() == list(kinds)
    assert refused["remedy"].str.ends_with(".").all()
    project.night("more.npz")
    assert project.alike(project.released(), pack.released)
    tested = index.of_batch("test", manifest.read(paths.manifest("test")), paths.features("test"))["sample_id"]
    assert not set(tested) & set(project.released()["sample_id"])


WAITING = [
    Case("missing", "labels", "no label in a row of the pool: it waits for one", UNHARMED).param(labelled(None), 1),
    Case("empty", "labels", "labels of nothing and of blanks in the pool", UNHARMED).param(labelled("", "  "), 2),
]


@pytest.mark.parametrize(("fault", "plant", "waiting"), WAITING)
def test_rows_of_the_pool_without_a_label_wait_for_theirs_and_change_nothing(
    pack: Undisturbed, fault: Case, plant: Callable[[], Path], waiting: int
) -> None:
    batch = project.half_night(plant())
    assert project.quarantine(batch).is_empty()
    project.night("more.npz")
    assert project.alike(project.released(), pack.released)
    pool = index.whole(paths.pool(ledger.newest_pool(ledger.read())))
    assert pool["label"].null_count() == waiting
    assert index.labelled(pool).equals(index.read(paths.pool(ledger.newest_pool(ledger.read()))))


@Case("missing in the core", "labels", "no label in some rows of the core", SET_ASIDE).test
def test_a_row_of_the_core_without_a_label_is_set_aside(place: Path) -> None:
    project.begin(*core_of([*(CLASSES[number % 3] for number in range(18)), "", "  "]))
    refused = project.quarantine("core", "download")
    assert refused["reason"].str.split(":").list.first().to_list() == ["no label", "no label"]
    assert refused["remedy"].str.ends_with(".").all()


@Case("equal in other words", "labels", "classes 1, 1.0 and '1', with blanks around", UNHARMED).test
def test_a_number_and_its_text_are_one_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    core = project.pack(Path("core.npz"), range(18), labels=[seed % 3 for seed in range(18)])
    test = project.pack(Path("test.npz"), range(50, 56), labels=[float(seed % 3) for seed in range(50, 56)])
    project.begin(str(core), str(test))
    words = project.pack(Path("pool.npz"), GOOD, labels=[f" {seed % 3} " for seed in GOOD])
    assert project.quarantine(project.night(words)).is_empty()
    assert set(project.released()["label"]) == {"0", "1", "2"}


def core_of(labels: list[str]) -> tuple[str, str]:
    return str(project.pack(Path("core.npz"), range(len(labels)), labels=labels)), "test.npz"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    project.pack(Path("test.npz"), range(50, 56))
    return tmp_path


@Case("one sample a class", "labels", "a core in which every sample has a class of its own", REFUSED).test
def test_a_core_without_two_samples_a_class_is_refused(place: Path) -> None:
    with pytest.raises(ValueError, match=r"batches\.core\.source must hold at least two classes with two samples each"):
        project.begin(*core_of([f"class {number}" for number in range(18)]))
    project.begin(*core_of([CLASSES[number % 3] for number in range(18)]))
    project.night(project.pack(Path("good.npz"), GOOD))


@Case("one sample of some classes", "labels", "a core with two classes of a single sample", SET_ASIDE).test
def test_single_samples_leave_the_core_with_the_reason(place: Path) -> None:
    project.begin(*core_of([*(CLASSES[number % 3] for number in range(18)), "wolf", "bear"]))
    refused = project.quarantine("core", "download")
    assert refused["label"].to_list() == ["wolf", "bear"]
    assert refused["reason"].str.starts_with("class of one sample").all()
    project.night(project.pack(Path("good.npz"), GOOD))
    assert set(project.released()["label"]) == set(CLASSES)


@Case("a test image in the core", "labels", "content of the test set among the core", SET_ASIDE).test
def test_no_test_image_trains_even_if_the_core_has_it(place: Path) -> None:
    own = project.pack(Path("core.npz"), [*range(18), 50, 51])
    project.begin(str(own), "test.npz")
    assert project.quarantine("core", "fit")["reason"].str.starts_with("in the test set").to_list() == [True, True]
    project.night(project.pack(Path("good.npz"), GOOD))
    tested = pl.read_parquet(paths.manifest("test"))["sample_id"]
    assert not set(tested) & set(project.released()["sample_id"])


@Case("a test image in the core by another name", "labels", "the same under a sample_id of its own", SET_ASIDE).test
def test_no_test_image_trains_under_another_name(place: Path) -> None:
    names = np.array([f"s{number}" for number in range(20)])
    project.begin(str(project.pack(Path("core.npz"), [*range(18), 50, 51], sample_id=names)), "test.npz")
    assert project.quarantine("core", "fit")["reason"].str.starts_with("in the test set").to_list() == [True, True]
    assert not {"s18", "s19"} & set(index.read(paths.CORE)["sample_id"])
    project.night(project.pack(Path("good.npz"), GOOD))


@Case("a class that is a program", "labels", "markup and a script as the name of a class", UNHARMED).test
def test_a_script_in_a_class_stays_text_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stages import evaluate, report

    monkeypatch.chdir(tmp_path)
    script = "<script>alert(1)<"  # a folder's name has no slash
    for seed in range(24):
        label = [script, "dog", "owl"][seed % 3]
        path = Path("core" if seed < 18 else "test", label, f"{seed}\" onerror='alert(2)'.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(project.pixels(seed, CLASSES[seed % 3])).save(path)
    project.begin("core", "test")
    project.night(project.album(Path("photos"), GOOD))
    evaluate.main()
    report.main()
    page = paths.REPORT.read_text(encoding="utf-8")
    assert script in json.dumps(known(page), ensure_ascii=False)
    assert script not in page
    assert "onerror='alert(2)'" not in page


@pytest.mark.slow
@Case("2,000 classes in the core", "labels", "two samples of each: predictions are rows × classes", UNHARMED).test
def test_a_core_of_very_many_classes_is_fitted_scored_and_extended(place: Path) -> None:
    many = [f"class {number:04d}" for number in range(2000)]
    core = np.random.default_rng(1).normal(size=(4000, 6)).astype(np.float32)
    everyone = [*many, *many, *(CLASSES[number % 3] for number in range(18))]
    own, _ = rows(project.pack(Path("few.npz"), range(18)))
    packed = project.pack(Path("core.npz"), [0], features=np.concatenate([core, own]), labels=np.array(everyone))
    project.begin(str(packed), "test.npz", reweight={"steps": 0})
    assert project.quarantine("core", "download", "fit").is_empty()
    project.night(project.pack(Path("good.npz"), GOOD))
    train = project.released()
    assert set(train["label"]) == {*many, *CLASSES}
    assert train.filter(pl.col("origin") == "pool").height == 4
    assert train.select(pl.col("weight", "margin").is_finite().all()).row(0) == (True, True)


@Case("chunks of four rows", "labels", "as few at once as 100,000 classes leave room for", UNHARMED).test
def test_chunks_shrink_where_classes_are_many(pack: Undisturbed) -> None:
    from diva.curation import rows as chunks

    core = index.read(paths.CORE)
    many = [*project.CLASSES, *(f"class {number:06d}" for number in range(100_000))]
    assert chunks.stored(core, many, 8192).chunk_size == chunks.MOST // len(many) < 1000
    assert chunks.stored(core, project.CLASSES, 8192).chunk_size == 8192
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "MOST", 12)  # four rows of three classes at once
        project.half_night("good.npz")
        project.night("more.npz")
    assert project.alike(project.released(), pack.released)
