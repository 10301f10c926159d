"""Several annotators of the core: from their columns, or a long list, to labels, their qualities and the next votes."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from diva.commands import project
from diva.ingest.listings import rows_of
from diva.ingest.ready import open_ready
from diva.store import columns, index, manifest, paths, tables
from diva.text.votes import plurality, with_labels
from stages import download, extract, fit

ROOT = Path(__file__).resolve().parents[2]
RIGHT = {"ann": 0.95, "bob": 0.6, "cid": 0.6}


def test_consensus_of_the_core_is_nearer_the_truth_than_votes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random, n, names = np.random.default_rng(3), 150, np.array(["cat", "dog", "tree"])
    truth = np.arange(n) % 3
    x = (3 * np.eye(3)[truth] + random.normal(size=(n, 3))).astype(np.float32)
    said = {}
    for name, share in RIGHT.items():
        vote = np.where(random.random(n) < share, truth, (truth + random.integers(1, 3, n)) % 3)
        said[f"annotator_{name}"] = np.where(random.random(n) < 0.1, "", names[vote])
    said["annotator_ann"][:3] = names[truth[:3]]
    np.savez("core.npz", features=x, sample_id=[f"s{number}" for number in range(n)], **said)
    paths.LEDGER.parent.mkdir()
    shutil.copy(ROOT / "params.yaml", paths.PARAMS)
    project.init(core="core.npz")
    for batch in ("core", "test"):
        download.download(batch)
        extract.extract(batch)
    fit.fit()
    voted = manifest.read(paths.manifest("core"))
    core = index.whole(paths.CORE, further=True)
    right = pl.Series(names[truth])[voted["sample_id"].str.slice(1).cast(pl.Int64)]
    wrong = {name: int((frame["label"] != right).sum()) for name, frame in (("votes", voted), ("model", core))}
    assert wrong["model"] < 0.8 * wrong["votes"]
    assert {*said} < {*core.columns}, "what each said stays beside the label"
    quality = pl.read_parquet(paths.ANNOTATORS)
    assert quality["annotator"][int(quality["quality"].arg_max())] == "ann"
    assert (quality["low"] <= quality["quality"]).all()
    votes = pl.read_parquet(paths.VOTES)
    assert votes["vote_value"].is_sorted(descending=True)
    assert np.allclose(votes.select("p_cat", "p_dog", "p_tree").sum_horizontal(), 1)
    agreed = votes.select("sample_id", "label").join(core.select("sample_id", "label"), on=["sample_id", "label"])
    assert len(agreed) == len(core)
    assert tables.read_json(paths.metrics("fit"))["annotators"][0]["votes"] == int((said["annotator_ann"] != "").sum())


def test_a_long_list_is_a_column_an_annotator_and_the_last_word_counts():
    header = ["path", "annotator", "label", "time", "site"]
    said = [
        ("a", "Ann", "cat", "9", 1),
        ("a", "Bob", "dog", "2", 1),
        ("b", "Bob", "dog", "3", 2),
        ("a", "Ann", "dog", "10", 1),
    ]
    lines = with_labels([(1, header), *((number, list(row)) for number, row in enumerate(said, 2))], "path", "label")
    assert lines == [
        (1, ["path", "site", "annotator_ann", "annotator_bob", "label"]),
        (2, ["a", 1, "dog", "dog", "dog"]),
        (4, ["b", 2, None, "dog", "dog"]),
    ]
    assert plurality(["b", "a", None, "", "a", "b"]) == "a"
    assert plurality([None, ""]) is None
    same = [(1, ["path", "label"]), (2, ["a", "cat"])]
    assert with_labels(same, "path", "label") is same


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_list_of_images_takes_votes_for_labels(tmp_path, suffix):
    table = pl.DataFrame({"path": ["a.png", "b.png"], "annotator_ann": ["cat", None], "annotator_bob": ["cat", "dog"]})
    getattr(table, f"write_{suffix}")(tmp_path / f"list.{suffix}")
    listed, beside = rows_of(tmp_path / f"list.{suffix}")
    assert [entry.label for entry in listed] == ["cat", "dog"]
    assert beside.columns == ["annotator_ann", "annotator_bob"]
    assert not columns.OWN & {*beside.columns}


def test_ready_features_without_labels_or_votes_are_refused_as_before(tmp_path):
    np.savez(tmp_path / "x.npz", features=np.eye(3))
    with pytest.raises(ValueError, match="labels missing"):
        open_ready(tmp_path / "x.npz")
