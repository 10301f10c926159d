"""Stage pool: a chain of indices that only ever grows, without what was there before."""

import json
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from PIL import Image

from diva.curation.posing import name_relatives
from diva.store import index, manifest, paths, tables
from stages.download import download
from stages.pool import pool
from tests.projects import digits
from tests.projects import stage_inputs as small


@pytest.fixture
def chain(workplace: Path) -> Path:
    """Core, test and two batches of the pool whose images partly lie in what came before."""
    batches = {"b001": (50, 30), "b002": (70, 30)}  # the core is 0 to 60, the test set 90 to 95
    small.write_ledger(
        test=("digits", digits.options(90, 5)),
        **{name: ("digits", digits.options(*part)) for name, part in batches.items()},
    )
    for name in ("core", "test", "b001", "b002"):
        download(name)
        small.extract(name)
    small.fit()
    index.write(paths.pool("b000"), tables.empty(index.SCHEMA))
    return workplace


def test_the_pool_grows_by_what_is_new(chain: Path) -> None:
    pool("b001")
    pool("b002")
    first, second = index.read(paths.pool("b001")), index.read(paths.pool("b002"))
    assert len(first) == 20, "30, of which 10 are in the core"
    assert second[:20].equals(first)
    assert second["batch"].to_list() == ["b001"] * 20 + ["b002"] * 15, (
        "30, of which 10 are in b001 and 5 in the test set"
    )
    assert second["sample_id"].is_unique().all()
    assert second["row"].to_list()[:20] == list(range(10, 30))
    refused = tables.read(paths.quarantine("pool", "b002"), manifest.QUARANTINE)
    assert refused.group_by("reason").len().sort("reason").rows() == [
        ("already delivered: in b001", 10),
        ("already delivered: in test", 5),
    ]
    assert json.loads((paths.METRICS / "pool" / "b002.json").read_text()) == {
        "candidates": 30,
        "admitted": 15,
        "quarantined": 15,
        "reasons": {"already delivered": 15},
        "pool": 35,
    }


def test_two_runs_write_the_same_bytes(chain: Path) -> None:
    pool("b001")
    before = paths.pool("b001").read_bytes(), paths.quarantine("pool", "b001").read_bytes()
    pool("b001")
    assert (paths.pool("b001").read_bytes(), paths.quarantine("pool", "b001").read_bytes()) == before


@pytest.mark.parametrize(("new_classes", "admitted"), [("quarantine", 2), ("accept", 3)])
def test_a_class_the_core_lacks_waits_unless_it_is_accepted(workplace: Path, new_classes: str, admitted: int) -> None:
    for number, name in enumerate(["core/a/1", "core/a/2", "core/b/3", "core/b/4", "more/a/5", "more/b/6", "more/z/7"]):
        (workplace / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), number).save(workplace / f"{name}.png")
    small.write_params(download=small.PARAMS["download"] | {"new_classes": new_classes})
    small.write_ledger(core=("core", {}), b001=("more", {}))
    for name in ("core", "b001"):
        download(name)
        small.extract(name)
    small.fit()
    index.write(paths.pool("b000"), tables.empty(index.SCHEMA))
    pool("b001")
    assert len(index.read(paths.pool("b001"))) == admitted
    refused = tables.read(paths.quarantine("pool", "b001"), manifest.QUARANTINE)
    assert refused["label"].to_list() == ["z"] * (3 - admitted)
    assert all("download.new_classes: accept" in remedy for remedy in refused["remedy"])


def test_an_empty_batch_leaves_the_pool_as_it_is(workplace: Path) -> None:
    small.write_ledger(b001=("none", {}))
    for name in ("core", "b001"):
        download(name)
        small.extract(name)
    small.fit()
    index.write(paths.pool("b000"), tables.empty(index.SCHEMA))
    pool("b001")
    assert index.read(paths.pool("b001")).is_empty()


def test_a_batch_that_is_no_link_of_the_pool_is_named(workplace: Path) -> None:
    small.write_ledger()
    with pytest.raises(ValueError, match=r"ledger\.yaml:pool must have an entry core, got none"):
        pool("core")


def written(batch: str, rows: list[list[float]], **attributes: str) -> None:
    """Features of a batch that mean something."""
    with h5py.File(small.extract(batch), "r+") as file:
        del file["features"]
        file.create_dataset("features", data=np.array(rows, np.float32))
        file.attrs.update(attributes)


@pytest.fixture
def close(workplace: Path) -> Path:
    """A core, a test set and a batch of three, of which one is near a test image and one near another of the batch."""
    small.write_params(duplicates={"near_duplicate": 0.99})
    parts = {"core": (0, 60), "test": (90, 1), "b001": (100, 3)}
    small.write_ledger(**{name: ("digits", digits.options(*part)) for name, part in parts.items()})
    for name in ("core", "test", "b001"):
        download(name)
        small.extract(name)
    small.fit()
    written("core", [[(-1.0) ** row, (-1.0) ** (row // 2), 0] for row in range(60)])  # their mean is 0
    written("test", [[0, 1, 5]])
    written("b001", [[0, 1.001, 5], [1, 0, 9], [1.001, 0, 9]])
    index.write(paths.pool("b000"), tables.empty(index.SCHEMA))
    return workplace


def test_images_near_a_test_image_or_an_earlier_one_are_set_aside(close: Path) -> None:
    pool("b001")
    names = manifest.read(paths.manifest("b001"))["sample_id"]
    assert index.read(paths.pool("b001"))["sample_id"].to_list() == [names[1]]
    refused = tables.read(paths.quarantine("pool", "b001"), manifest.QUARANTINE)
    tested = manifest.read(paths.manifest("test"))["sample_id"][0]
    assert refused["sample_id"].to_list() == [names[0], names[2]]
    assert refused["reason"].to_list() == [
        f"near duplicate: of {tested} in test, cosine 1.0",
        f"near duplicate: of {names[1]} in b001, cosine 1.0",
    ]
    counts = json.loads((paths.METRICS / "pool" / "b001.json").read_text())
    assert counts["reasons"] == {"near duplicate": 2}


def test_near_duplicates_stay_where_nobody_asks(close: Path) -> None:
    small.write_params()
    pool("b001")
    assert len(index.read(paths.pool("b001"))) == 3


@pytest.mark.parametrize("key", ["backbone", "weights_sha256", "transform"])
def test_features_of_another_making_are_refused_and_the_difference_is_named(close: Path, key: str) -> None:
    made = {"backbone": "resnet18", "weights_sha256": "ab", "transform": "{}"}
    written("core", [[1.0, 0, 0]] * 60, **made)
    written("b001", [[1.0, 0, 0]] * 3, **made | {key: "other"})
    with pytest.raises(ValueError, match=rf"b001\.h5 must be made as .*core\.h5 was, whose {key} is .*, got other"):
        pool("b001")
    assert not paths.pool("b001").exists()


def test_near_relatives_in_a_delivery_join_the_groups_of_the_core_where_it_has_some(workplace: Path) -> None:
    """Three views of 40 images each in the core; two more of every other one in the pool, and two of 10 others each."""
    generator = np.random.default_rng(0)
    images = generator.normal(size=(50, 30))
    where = {
        "core": np.arange(40).repeat(3),
        "b001": np.concatenate([np.arange(0, 40, 2).repeat(2), np.arange(40, 50).repeat(2)]),
    }
    frames = {}
    for batch, numbers in where.items():
        with h5py.File(f"{batch}.h5", "w") as file:
            rows = images[numbers] + 0.02 * generator.normal(size=(len(numbers), 30))
            file["features"] = rows.astype(np.float32)
        columns = {
            "sample_id": [f"{batch}-{i}" for i in range(len(numbers))],
            "label": [f"{number % 4}" for number in numbers],
        }
        frame = (
            pl.DataFrame(columns)
            .with_row_index("row")
            .with_columns(batch=pl.lit(batch), features=pl.lit(f"{batch}.h5"), path=pl.lit("p"), checksum=pl.lit("c"))
        )
        frames[batch] = tables.conform(frame.cast({"row": pl.Int64}), index.SCHEMA, batch)
    stored = pl.DataFrame(
        {"sample_id": frames["core"]["sample_id"], "group": [f"relatives {n}" for n in where["core"]]}
    )
    tables.write(paths.RELATIVES, stored, index.RELATIVES)
    named = name_relatives(frames["b001"], index.with_groups(frames["core"]))
    assert named.drop("group").equals(frames["b001"].drop("group"))
    assert named["group"][:40].to_list() == [f"relatives {n}" for n in where["b001"][:40]]
    fresh = named["group"][40:].to_list()
    assert fresh[::2] == fresh[1::2]
    assert len(set(fresh)) == 10
    assert all(name.endswith(" of b001") for name in fresh)


def test_what_has_no_label_waits_and_takes_the_one_that_a_later_delivery_brings(workplace: Path) -> None:
    names = ["core/a/1", "core/a/2", "core/b/3", "core/b/4", *(f"more/{number}" for number in range(5, 10))]
    for number, name in enumerate(names):
        (workplace / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), 20 * number).save(workplace / f"{name}.png")
    small.write_params()
    answers = workplace / "answers.csv"
    answers.write_text("path,label\nmore/5.png,a\nmore/6.png,z\nmore/7.png, b \nmore/8.png,\ncore/a/1.png,\n")
    small.write_ledger(core=("core", {}), b001=("more", {}), b002=(str(answers), {}))
    for name in ("core", "b001", "b002"):
        download(name)
        small.extract(name)
    assert json.loads((paths.METRICS / "download" / "b001.json").read_text()) == {
        "samples": 5, "classes": 0, "quarantined": 0, "reasons": {}, "unlabelled": 5
    }  # fmt: skip
    small.fit()
    index.write(paths.pool("b000"), tables.empty(index.SCHEMA))
    pool("b001")
    pool("b002")
    first, second = index.whole(paths.pool("b001")), index.whole(paths.pool("b002"))
    assert (first["label"].null_count(), len(index.read(paths.pool("b001")))) == (5, 0)
    assert second.select("path", "label", "batch").rows() == [
        ("more/6.png", None, "b001"),  # z is no class of the core, so it still waits
        ("more/8.png", None, "b001"),
        ("more/9.png", None, "b001"),
        (f"{workplace}/more/5.png", "a", "b002"),
        (f"{workplace}/more/7.png", "b", "b002"),
    ]
    assert index.read(paths.pool("b002"))["label"].to_list() == ["a", "b"]
    refused = tables.read(paths.quarantine("pool", "b002"), manifest.QUARANTINE)
    assert refused["reason"].str.split(":").list.first().to_list() == [
        "already delivered", "already delivered", "class the core lacks"
    ]  # fmt: skip
    metrics = json.loads((paths.METRICS / "pool" / "b002.json").read_text())
    assert (metrics["pool"], metrics["unlabelled"]) == (5, 3)
