import h5py
import numpy as np
import polars as pl

from diva.report import evidence as module
from diva.report.evidence import nearest_images


def write(path, features) -> pl.DataFrame:
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=np.asarray(features, np.float32))
    n = len(features)
    return pl.DataFrame({"sample_id": [f"s{i}" for i in range(n)], "features": [str(path)] * n, "row": list(range(n))})


def naive(asked, core, x, mean, label, nearest):
    """Cosine with every core row of the class, sorted: the slow twin."""
    found = []
    for own, row, wanted in asked.select("sample_id", "row", label).iter_rows():
        near = []
        for name, place, given in core.select("sample_id", "row", "label").iter_rows():
            if given == wanted and name != own:
                a, b = x[row] - mean, x[place] - mean
                near.append((-(a @ b) / np.linalg.norm(a) / np.linalg.norm(b), name))
        found.append([name for _, name in sorted(near)[:nearest]])
    return found


def test_neighbours_are_those_of_a_plain_search(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 7)  # several chunks
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5))
    every = write(tmp_path / "f.h5", x).with_columns(label=pl.Series([f"c{i % 3}" for i in range(60)]))
    core = every.head(40)
    asked = every[[2, 5, 45, 50]].with_columns(given_label="label", suggested_label=pl.Series(["c1", "c0", None, "c2"]))
    found = nearest_images(asked, core, nearest=4)
    mean = x[:40].mean(0)
    for label in ("given_label", "suggested_label"):
        side = 0 if label == "given_label" else 1
        expected = naive(asked, core, x, mean, label, 4)
        assert [[one.sample_id for one in found[name][side]] for name in asked["sample_id"]] == expected
    assert found["s45"].suggested == ()


def test_no_sample_is_evidence_for_itself_and_a_class_without_images_has_none(tmp_path) -> None:
    core = write(tmp_path / "f.h5", np.eye(3)).with_columns(label=pl.Series(["a", "b", "b"]))
    asked = core.head(1).with_columns(given_label=pl.lit("a"), suggested_label=pl.lit("b"))
    found = nearest_images(asked, core)["s0"]
    assert found.given == ()
    assert {one.sample_id for one in found.suggested} == {"s1", "s2"}
    assert all(-1 <= one.cosine <= 1 for one in found.suggested)


def test_nothing_asked_or_nothing_to_compare_with_is_no_evidence(tmp_path) -> None:
    core = write(tmp_path / "f.h5", np.eye(3)).with_columns(label=pl.lit("a"))
    asked = core.with_columns(given_label="label", suggested_label="label")
    assert nearest_images(asked.clear(), core) == {}
    assert nearest_images(asked, core.clear()) == {}
