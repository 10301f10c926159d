"""Whatever bytes a file holds, the answer is a value or a ValueError that names the file: no other error, no hang."""

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diva.ingest import listings, ready, sources
from diva.store import curated, index, ledger, manifest, tables
from diva.store.features import FeatureFile
from diva.vision.weights import read_state
from stages.params import __main__ as validation
from stages.params import section
from tests.conftest import ROOT

CHECKSUM = "sha256:" + "0" * 64


@cache
def seeds() -> dict[str, bytes]:
    """A whole file of each kind, to be spoilt."""
    frame = pl.DataFrame({name: [None] * 4 for name in manifest.SCHEMA}, schema=dict(manifest.SCHEMA))
    rows = {"features": np.eye(4, dtype=np.float32), "labels": np.array(["a", "b"] * 2)}
    table, numbers, array, hdf5 = (io.BytesIO() for _ in range(4))
    frame.with_columns(sample_id=pl.lit("s"), label=pl.lit("a"), path=pl.lit("p")).write_parquet(table)
    np.savez(numbers, **rows)
    np.save(array, rows["features"])
    with h5py.File(hdf5, "w") as file:
        file["features"], file["labels"] = rows["features"], rows["labels"].astype("S1")
    text = "sample_id,path,label,decision\n" + "".join(f"{n:032x},{n}.png,a,accept\n" for n in range(4))
    return {
        ".parquet": table.getvalue(), ".npz": numbers.getvalue(), ".npy": array.getvalue(), ".h5": hdf5.getvalue(),
        ".csv": text.encode(), ".yaml": (ROOT / "params.yaml").read_bytes(),
    }  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, suffix: str) -> bytes:
    """Bytes from nowhere, or a whole file with some of its bytes changed, cut out, or put in twice."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(seeds()[suffix])
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.sampled_from(["change", "cut", "repeat", "end"])):
            case "change":
                content[place : place + 4] = draw(st.binary(min_size=1, max_size=4))
            case "cut":
                del content[place : place + draw(st.integers(1, 40))]
            case "repeat":
                content[place:place] = content[place : place + draw(st.integers(1, 40))]
            case "end":
                del content[place:]
    return bytes(content)


def answers(path: Path, read: Callable[[Path], Any]) -> Any:
    """What it reads; None where it says what is wrong with the file."""
    try:
        return read(path)
    except ValueError as error:
        assert path.stem in str(error), repr(error)
        return None


PARSERS: list[tuple[str, str, Callable[[Path], Any]]] = [
    ("manifest", ".parquet", manifest.read),
    ("index", ".parquet", index.read),
    ("curated", ".parquet", lambda path: curated.read(path)),
    ("review", ".parquet", lambda path: tables.read(path, curated.REVIEW)),
    ("list", ".parquet", lambda path: sources.open_source(str(path), {})),
    ("list of text", ".csv", listings.images_of),
    ("npz", ".npz", ready.open_ready),
    ("ready parquet", ".parquet", ready.open_ready),
    ("hdf5", ".h5", ready.open_ready),
    ("features", ".h5", FeatureFile),
    ("ledger", ".yaml", ledger.read),
    ("params", ".yaml", section.load),
    ("weights", ".npz", read_state),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize(("name", "suffix", "read"), PARSERS, ids=[name for name, *_ in PARSERS])
def test_spoilt_files_are_read_or_named(place: Path, name: str, suffix: str, read: Callable[[Path], Any]) -> None:
    @given(spoilt(suffix))
    @settings(max_examples=40)
    def check(content: bytes) -> None:
        path = place / f"spoilt{suffix}"
        path.write_bytes(content)
        answers(path, read)

    check()


@given(spoilt(".npy"))
def test_spoilt_arrays_are_read_or_named(place: Path, content: bytes) -> None:
    path = place / "array.npy"
    path.write_bytes(content)
    np.save(place / "array_labels.npy", np.array(["a", "b"] * 2))
    answers(path, ready.open_ready)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from([*validation.models(), "other"]),
        values | st.dictionaries(st.text(max_size=8), values, max_size=3),
    )
)
def test_any_parameters_are_right_or_named(content: dict[str, Any]) -> None:
    known = yaml.safe_load((ROOT / "params.yaml").read_text())
    found = validation.faults(known | content)
    assert all(fault.startswith("params.yaml:") for fault in found)
    assert ("other" in content) <= bool(found)


@given(st.sampled_from(["batches", "pool", "rounds", "latest", "reviews", "base"]), values)
@example("latest", "r99999999999999999999")
def test_any_ledger_is_right_or_named(key: str, value: Any) -> None:
    core = {"source": "digits", "checksum": CHECKSUM, "options": {}}
    content = {"batches": {"core": core}, "pool": {}, "rounds": {}, "latest": "r000"}
    try:
        book = ledger.validated(content | {key: value})
    except ValueError as error:
        assert "data/ledger.yaml" in str(error)
        assert len(str(error)) < 5000
    else:
        assert ledger.validated(yaml.safe_load(ledger.text(book))) == book


@given(st.text(max_size=60))
def test_any_source_is_opened_or_named(text: str) -> None:
    try:
        sources.open_source(text, {})
    except ValueError as error:
        assert str(error)
    except OSError as error:  # a name that no file can have
        assert error.errno


def test_json_of_any_metrics_is_read_or_nothing() -> None:
    from diva.versions.published import _json

    for content in (None, b"", b"[1]", b"{", b"\xff", json.dumps({"a": 1}).encode()):
        assert isinstance(_json(content), dict)
