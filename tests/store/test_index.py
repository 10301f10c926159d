"""Indices: rows of the file of features, and what may enter the pool."""

from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest

from diva.store import digests, index, manifest
from diva.store.manifest import Sample


def features(path: Path, ids: list[str]) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=np.zeros((len(ids), 3), np.float32))
        file.create_dataset("labels", data=np.zeros(len(ids), np.int32))
        file.create_dataset("sample_id", data=np.array(ids, dtype="S32"))
        file.create_dataset("classes", data=np.array(["a"], dtype=object), dtype=h5py.string_dtype())
    return path


def samples(ids: list[str], labels: list[str]) -> pl.DataFrame:
    return manifest.samples(Sample(name, f"{name}.png", label, 1, 1) for name, label in zip(ids, labels, strict=True))


def test_an_index_follows_the_file_of_features(tmp_path: Path) -> None:
    path = features(tmp_path / "b001.h5", ["s3", "s1"])
    made = index.of_batch("b001", samples(["s1", "s2", "s3"], ["a", "b", "c"]), path)
    assert made.schema == dict(index.SCHEMA)
    assert made.select("sample_id", "row", "label", "path").rows() == [
        ("s3", 0, "c", "s3.png"),
        ("s1", 1, "a", "s1.png"),
    ]
    assert made["checksum"].to_list() == [digests.sha256(path)] * 2
    assert made["features"].to_list() == [path.as_posix()] * 2


def test_an_empty_batch_has_an_empty_index(tmp_path: Path) -> None:
    made = index.of_batch("b001", samples([], []), features(tmp_path / "b001.h5", []))
    assert made.schema == dict(index.SCHEMA)
    assert made.is_empty()


def test_features_of_another_manifest_are_refused(tmp_path: Path) -> None:
    path = features(tmp_path / "b001.h5", ["s1", "s9"])
    with pytest.raises(ValueError, match=r"b001\.h5 must hold samples of the manifest of b001 only, got 1 others"):
        index.of_batch("b001", samples(["s1"], ["a"]), path)


def test_the_pool_takes_what_is_new_and_of_a_known_class(tmp_path: Path) -> None:
    ids, labels = ["s1", "s2", "s3", "s4", "s5"], ["a", "b", "z", "a", "z"]
    candidates = index.of_batch("b002", samples(ids, labels), features(tmp_path / "b002.h5", ids))
    taken = pl.DataFrame({"sample_id": ["s4", "s5", "s5", "s0"], "batch": ["core", "test", "b001", "b001"]})
    taken = taken.with_columns(pixels=pl.lit(None, pl.String), label=pl.Series(["b", "z", "z", "a"]))
    admitted, refused = index.admit(candidates, taken, {"a", "b"})
    assert admitted["sample_id"].to_list() == ["s1", "s2"]
    assert dict(refused.select("sample_id", "reason").iter_rows()) == {
        "s4": "already delivered: in core, as b",
        "s5": "already delivered: in test",
        "s3": "class the core lacks: z",
    }
    assert len(admitted) + len(refused) == len(candidates)
    assert index.admit(candidates, taken, None)[0]["sample_id"].to_list() == ["s1", "s2", "s3"]


def test_candidates_take_the_cores_spelling_of_their_class(tmp_path: Path) -> None:
    candidates = index.of_batch(
        "b001", samples(["s1", "s2"], ["Käse", "1.0"]), features(tmp_path / "b001.h5", ["s1", "s2"])
    )
    nothing = pl.DataFrame(schema={"sample_id": pl.String, "pixels": pl.String, "batch": pl.String, "label": pl.String})
    admitted, _ = index.admit(candidates, nothing, {"Ka\u0308se", "1"})
    assert admitted["label"].to_list() == ["Ka\u0308se", "1"]


def test_what_shares_a_group_with_a_test_sample_is_set_aside():
    schema = {"sample_id": pl.String, "path": pl.String, "label": pl.String, "group": pl.String}
    rows = pl.DataFrame([["a", "a", "x", "g"], ["b", "b", "x", None], ["c", "c", "x", "h"]], schema, orient="row")
    others = pl.DataFrame([["t", "t", "x", "g"], ["u", "u", "x", None]], schema, orient="row")
    rest, refused = index.without_groups_of(rows, others)
    assert rest["sample_id"].to_list() == ["b", "c"]
    assert refused["reason"].to_list() == ["group of the test set: g"]
