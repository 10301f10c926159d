"""A purge of images that lie in a tar of their batch, and of records of labels."""

import hashlib
import io
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from diva.ingest import annotations
from diva.ingest.project import options_of
from diva.store import index, ledger, manifest, parts, paths
from diva.versions import compact, labelling, purge
from stages.download import download
from stages.extract import extract
from stages.pool import pool
from tests.projects import ledgers
from tests.projects import real_stages as project


def table(path: str, seeds: Iterable[int], labelled: bool = True) -> str:
    """A table of Hugging Face with images inside."""
    rows = []
    for seed in seeds:
        buffer, label = io.BytesIO(), project.CLASSES[seed % 3]
        Image.fromarray(project.pixels(seed, label)).save(buffer, "PNG")
        image = {"bytes": buffer.getvalue(), "path": f"{seed}.png"}
        rows.append({"image": image, "label": label if labelled else None})
    kinds: dict[str, pl.DataType | type[pl.DataType]] = {
        "image": pl.Struct({"bytes": pl.Binary, "path": pl.String}),
        "label": pl.String,
    }
    pl.DataFrame(rows, kinds).write_parquet(path)
    return path


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ledger.Ledger:
    """A core and a pool of tables: a batch with labels, one without, of which a record labels the first two."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    project.write_params()
    project.album(Path("test"), range(50, 56))
    core = table("core.parquet", range(18))
    ledgers.write((core, options_of(core, "core")), test=("test", {}))
    for batch in ("core", "test"):
        download(batch)
        extract(batch)
    from stages.fit import fit
    from stages.score import score
    from stages.start import start

    fit()
    score("soft")
    start()
    for name, seeds, labelled in (("pool.parquet", range(100, 104), True), ("wait.parquet", range(200, 204), False)):
        batch = project.accept(table(name, seeds, labelled), options_of(name, "b001"))
        for stage in (download, extract, pool):
            stage(batch)
    ids = labelling.waiting(ledger.read())["sample_id"]
    Path("l.csv").write_text(f"sample_id,label\n{ids[0]},cat\n{ids[1]},dog\n")
    record = labelling.checked(ledger.read(), Path("l.csv"))
    labelling.publish(labelling.accepted(ledger.read(), record, "l.csv"), record)
    for stage in (download, extract, pool):
        stage("b003")
    return ledger.read().model_copy(update={"latest": "r000"})


def names(rows: pl.DataFrame) -> list[str]:
    """The id of what lies at each path."""
    return [hashlib.sha256(parts.read(path)).hexdigest()[: manifest.ID_LENGTH] for path in rows["path"]]


def test_images_in_a_tar_are_zeroed_and_the_others_stay_where_they_were(book: ledger.Ledger) -> None:
    whole = index.whole(paths.pool("b003"))
    core = manifest.read(paths.manifest("core"))
    record = annotations.stored(next(paths.LABELS.glob("*.csv")))
    gone = [whole["sample_id"][0], core["sample_id"][0], record["sample_id"][0]]
    Path("cache").mkdir()
    tars = {name: Path(f"data/raw/{name}/images.tar") for name in ("core", "b001", "b002")}
    for name, tar in tars.items():
        os.link(tar, f"cache/{name}")  # as DVC does, where it is told to
        assert purge.holds(Path(f"cache/{name}"), gone)
        assert not purge.holds(
            Path(f"cache/{name}"), core["sample_id"][1:2].to_list() if name != "core" else ["0" * 32]
        )
    before = {name: Path(f"cache/{name}").read_bytes() for name in tars}
    assert purge.places(gone) == []
    assert purge.trim_core(gone)
    base = compact.gather(book, gone)
    for name, tar in tars.items():
        now = tar if name == "core" else base / "raw" / name / "images.tar"
        assert not purge.holds(now, gone)
        assert len(now.read_bytes()) == len(before[name])
        assert Path(f"cache/{name}").read_bytes() == before[name], "what others know by another name is never written"
    for rows in (manifest.read(paths.manifest("core")), index.whole(base / "pool.parquet")):
        assert names(rows) == rows["sample_id"].to_list()
        assert set(gone).isdisjoint(rows["sample_id"])
    assert len(index.whole(base / "pool.parquet")) == len(whole) - 2
    everything = manifest.read(paths.manifest("core"))["sample_id"].to_list()
    assert purge.trim_core(everything)
    rest = index.whole(compact.gather(book, everything) / "pool.parquet")
    assert len(rest) == len(whole), "a core may lose every row"


def test_records_of_batches_that_the_base_took_in_lose_their_rows(book: ledger.Ledger) -> None:
    path = next(paths.LABELS.glob("*.csv"))
    record = annotations.stored(path)
    gone = record["sample_id"][:1].to_list()
    purge.trim_records(book, gone)
    assert annotations.stored(path).equals(record), "it is still to be read"
    purge.trim_records(ledger.compacted(ledger.read(), "curated@v0.1.0"), gone)
    assert annotations.stored(path).equals(record[1:])
    assert gone[0] not in path.read_text()
