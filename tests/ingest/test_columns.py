"""Columns that a delivery has beside path, label and group: kept with their types, and never in the way."""

import datetime

import h5py
import numpy as np
import polars as pl
import pytest
from PIL import Image

from diva.ingest import sources
from diva.store import columns, index, manifest, release, tables

SITES = ["north", "south", None, "east"]
DAYS = [datetime.date(2026, 3, day) for day in (1, 2, 3, 4)]


@pytest.fixture
def rows(tmp_path) -> pl.DataFrame:
    """A list of four images with what one knows of them."""
    for number in range(4):
        Image.new("RGB", (8, 8), (number * 60, 0, 0)).save(tmp_path / f"{number}.png")
    return pl.DataFrame(
        {
            "path": [f"{number}.png" for number in range(4)],
            "label": ["a", "b", "a", "b"],
            "site": SITES,
            "day": DAYS,
            "iso": [100, 200, 400, 800],
            "sharp": [True, False, True, None],
            "caption": ["a red one", "=cmd()", "", "über"],
            "weight": [1.5, 2.5, None, 0.0],  # a name of this project's own
            "tags": [["x"], [], ["y"], None],  # nested: left out
            "kind": pl.Series(["p", "q", "p", "q"], dtype=pl.Categorical),
        }
    )


KEPT = ["site", "day", "iso", "sharp", "caption", "weight_", "kind"]


def read(path, folder):
    return sources.open_source(str(path), {}).read(folder).samples


def test_columns_of_a_parquet_list_keep_their_types_through_manifest_and_release(rows, tmp_path):
    rows.write_parquet(tmp_path / "list.parquet")
    samples = read(tmp_path / "list.parquet", tmp_path)
    assert samples.columns == [*manifest.SCHEMA, *KEPT]
    expected = rows.rename({"weight": "weight_"}).select(KEPT).with_columns(pl.col("kind").cast(pl.String))
    assert samples.select(KEPT).equals(expected)
    manifest.write(tmp_path / "manifest.parquet", samples)
    assert manifest.read(tmp_path / "manifest.parquet", further=True).select(KEPT).equals(expected)
    assert manifest.read(tmp_path / "manifest.parquet").columns == list(manifest.SCHEMA)
    described = columns.described(samples.select("sample_id").reverse(), samples)
    assert described.select(KEPT).equals(expected.reverse())


def test_a_csv_list_gives_text_and_what_is_empty_is_none(rows, tmp_path):
    rows.drop("tags", "kind").write_csv(tmp_path / "list.csv")
    samples = read(tmp_path / "list.csv", tmp_path)
    assert samples["site"].to_list() == SITES
    assert samples["iso"].to_list() == ["100", "200", "400", "800"]
    assert samples["caption"].to_list() == ["a red one", "=cmd()", None, "über"]


def test_a_list_of_path_and_label_has_the_manifest_that_it_had(rows, tmp_path):
    rows.select("path", "label").write_parquet(tmp_path / "list.parquet")
    assert read(tmp_path / "list.parquet", tmp_path).columns == list(manifest.SCHEMA)
    frame = pl.DataFrame({"sample_id": ["x"]})
    assert columns.described(frame, tables.empty(index.SCHEMA)) is frame


def test_what_is_said_later_of_a_sample_adds_to_what_was_said_of_it():
    """A record of labels says nothing but labels: columns of the waiting sample stay."""
    later = pl.DataFrame({"sample_id": ["x", "y"], "site": [None, "new"]})
    older = pl.DataFrame({"sample_id": ["x", "y"], "site": ["north", "old"], "iso": [100, 200]})
    described = columns.described(pl.DataFrame({"sample_id": ["y", "x", "z"]}), later, older)
    assert described.rows() == [("y", "new", 200), ("x", "north", 100), ("z", None, None)]
    assert columns.described(later.select("sample_id"), later.select("sample_id"), older)["site"].to_list() == [
        "north",
        "old",
    ]


def test_a_copy_keeps_what_is_said_of_the_first(rows, tmp_path):
    pl.concat([rows, rows.with_columns(site=pl.lit("later"))]).write_parquet(tmp_path / "list.parquet")
    assert read(tmp_path / "list.parquet", tmp_path)["site"].to_list() == SITES


def test_deliveries_with_other_columns_are_joined_and_types_that_differ_become_text(rows, tmp_path):
    first = rows.head(2).select("path", "label", "site", "iso")
    first.write_parquet(tmp_path / "one.parquet")
    second = rows.tail(2).select("path", "label", "day", iso=pl.col("iso").cast(pl.String) + " ASA")
    second.write_parquet(tmp_path / "two.parquet")
    parts = [sources.open_source(str(tmp_path / name), {}).read(tmp_path) for name in ("one.parquet", "two.parquet")]
    samples = manifest.joined(parts).samples
    assert samples["iso"].to_list() == ["100", "200", "400 ASA", "800 ASA"]
    assert samples["site"].to_list() == ["north", "south", None, None]
    assert samples["day"].to_list() == [None, None, *DAYS[2:]]


def test_only_the_first_columns_are_kept(rows, tmp_path):
    many = rows.select("path", "label").with_columns(pl.lit(number).alias(f"c{number:03d}") for number in range(100))
    many.write_parquet(tmp_path / "list.parquet")
    samples = read(tmp_path / "list.parquet", tmp_path)
    assert samples.columns[len(manifest.SCHEMA) :] == [f"c{number:03d}" for number in range(columns.MOST)]


@pytest.mark.parametrize("kind", ["npz", "parquet", "h5"])
def test_ready_features_keep_columns_with_one_entry_a_row(tmp_path, kind):
    path, X = tmp_path / f"ready.{kind}", np.arange(12.0).reshape(4, 3)
    more = {
        "site": np.array(["n", "s", "e", "w"]),
        "iso": np.arange(4),
        "other": np.arange(3.0),
        "table": np.ones((4, 2)),
    }
    if kind == "npz":
        np.savez(path, features=X, labels=np.array(list("abab")), objects=np.array([{}] * 4, dtype=object), **more)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["features"], file["labels"] = X, np.array(list("abab"), dtype="S1")
            file["iso"], file["other"], file["table"] = more["iso"], more["other"], more["table"]
            file["site"] = more["site"].astype(h5py.string_dtype())
            file["elsewhere"] = h5py.ExternalLink("/etc/hostname", "/")
            file["dangling"] = h5py.SoftLink("/nowhere")
    else:
        frame = pl.DataFrame({"features": X.tolist(), "labels": list("abab"), "site": more["site"], "iso": more["iso"]})
        frame.write_parquet(path)
    if kind == "h5":  # a link is refused, or left alone: no bytes of another file come in
        with h5py.File(path, "a") as file:
            del file["elsewhere"], file["dangling"]
    samples = read(path, tmp_path)
    assert sorted(samples.columns[len(manifest.SCHEMA) :]) == ["iso", "site"]
    assert samples["site"].to_list() == ["n", "s", "e", "w"]
    assert samples["iso"].to_list() == [0, 1, 2, 3]


def test_no_column_of_a_delivery_hides_one_of_the_release(rows):
    clash = pl.DataFrame({name: ["x"] for name in (*release.TRAIN, "score", "features")})
    assert columns.further(clash).columns == [f"{name}_" for name in clash.columns]
    taken = pl.DataFrame({"weight": [1], "weight_": [2], "image": [3], "took": [datetime.timedelta(hours=30)]})
    stored = columns.further(taken)
    assert stored.row(0, named=True) == {"weight__": 1, "weight_": 2, "image": 3, "took": "P1DT6H"}
