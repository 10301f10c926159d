"""The watched folder: only what is complete is seen, and only once."""

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from diva.ingest import sources
from diva.ingest.ready import attributes
from diva.store import ledger, manifest, paths
from diva.store.features import FeatureWriter
from flows import deliveries, inspection
from flows.deliveries import Watched
from tests.ingest import layouts


def image(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)


def waits(folder) -> dict[str, str]:
    return {arrival.name: arrival.waits for arrival in Watched(str(folder)).arrivals()}


def test_no_folder_holds_no_deliveries(tmp_path):
    assert waits(tmp_path / "absent") == {}


def test_a_folder_without_its_marker_waits(tmp_path):
    image(tmp_path / "d1/cat/1.png")
    assert waits(tmp_path) == {"d1": ".complete is not there yet"}
    (tmp_path / "d1/.complete").touch()
    assert waits(tmp_path) == {"d1": ""}


def test_a_manifest_counts_once_all_its_files_are_there(tmp_path):
    image(tmp_path / "d1/1.png")
    (tmp_path / "d1/manifest.csv").write_text("path,label\n1.png,cat\n2.png,dog\n")
    assert waits(tmp_path) == {"d1": "1 files of manifest.csv are not there yet (first: 2.png)"}
    image(tmp_path / "d1/2.png")
    (arrival,) = Watched(str(tmp_path)).arrivals()
    assert (arrival.waits, arrival.source) == ("", f"{tmp_path}/d1/manifest.csv")


def test_a_file_needs_a_marker_beside_it(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    np.save(tmp_path / "x_labels.npy", np.array([0, 1]))
    assert waits(tmp_path) == {"x.npy": "x.npy.complete is not there yet"}
    (tmp_path / "x.npy.complete").touch()
    assert waits(tmp_path) == {"x.npy": ""}


def test_other_files_are_named_and_left_alone(tmp_path):
    (tmp_path / "README.md").touch()
    assert waits(tmp_path)["README.md"].startswith("it is neither a folder nor one of .csv")


def test_a_complete_delivery_from_a_url_is_copied_whole(fresh):
    memory = MemoryFileSystem()
    image(fresh.root / "there/cat/1.png", 7)
    memory.put(str(fresh.root / "there"), "/box/d1", recursive=True)
    watched = Watched("memory://box")
    assert waits("memory://box") == {"d1": ".complete is not there yet"}
    memory.touch("/box/d1/.complete")
    (arrival,) = watched.arrivals()
    assert (watched.bring(arrival), arrival.source) == ("", "data/deliveries/d1")
    assert (fresh.root / "data/deliveries/d1/cat/1.png").is_file()
    assert fresh.git("status", "--porcelain", "data") == ""
    assert deliveries.judge(ledger.read(), arrival).outcome == "d1 is b001"
    memory.rm("/box", recursive=True)


def test_shards_from_an_object_store_are_a_batch_whose_format_the_ledger_names(fresh):
    memory = MemoryFileSystem()
    shard = layouts.tar(fresh.root / "there/part-000.tar", {"a.png": layouts.png(0), "a.cls": b"cat"})
    memory.put(str(shard), "/box/d1/part-000.tar")
    memory.touch("/box/d1/.complete")
    watched = Watched("memory://box")
    (arrival,) = watched.arrivals()
    assert watched.bring(arrival) == ""
    (entry,) = deliveries.judge(ledger.read(), arrival).book.batches["b001"].deliveries
    assert (entry.source, entry.options) == ("data/deliveries/d1", {"format": "webdataset"})
    source = sources.open_batch(entry, "b001")
    delivery = source.read(fresh.root)
    assert delivery.samples["label"].to_list() == ["cat"]
    memory.rm("/box", recursive=True)


def test_an_unusable_delivery_is_refused_with_the_reason(fresh):
    (fresh.root / "deliveries").mkdir()
    (fresh.root / "deliveries/x.csv").write_text("a,b\n1,2\n")
    (fresh.root / "deliveries/x.csv.complete").touch()
    (arrival,) = deliveries.new(ledger.read(), "deliveries")
    verdict = deliveries.judge(ledger.read(), arrival)
    assert verdict.book is None
    assert "must have the columns path and label" in verdict.outcome


def test_features_made_in_another_way_than_the_cores_are_refused(tmp_path, monkeypatch):
    import h5py

    from flows import provenance

    monkeypatch.chdir(tmp_path)
    for name, network in (("core", "resnet18"), ("new", "resnet50")):
        with h5py.File(f"{name}.h5", "w") as file:
            file.attrs["backbone"] = network
            file["features"], file["labels"] = np.ones((2, 3)), np.array([0, 1])
    book = ledger.start(ledger.Batch(source="core.h5", checksum="none", options={}))
    provenance.require_same_source(book, "core.h5")
    with pytest.raises(ValueError, match="backbone is 'resnet50', the core's 'resnet18'"):
        provenance.require_same_source(book, "new.h5")


@pytest.fixture
def ready(fresh):
    """A project whose core is ready features of 5 columns."""
    rng = np.random.default_rng(0)
    np.savez("core.npz", features=rng.normal(size=(6, 5)).astype("f"), labels=[0, 0, 0, 1, 1, 1])
    writer = FeatureWriter(paths.features("core"), attributes(), "float32")
    writer.append(np.load("core.npz")["features"])
    writer.finish(list("000111"), list("abcdef"))
    ledger.write(paths.LEDGER, ledger.start(ledger.Batch(source="core.npz", checksum="none", options={})))
    (fresh.root / "deliveries").mkdir()
    return fresh.root / "deliveries"


def verdict(folder) -> str:
    for path in folder.glob("*.npz"):
        path.with_name(f"{path.name}.complete").touch()
    (arrival,) = deliveries.new(ledger.read(), "deliveries")
    judged = deliveries.judge(ledger.read(), arrival)
    obstacle = deliveries.obstacle(ledger.read(), arrival)
    assert obstacle == ("" if judged.book else f"Delivery {judged.outcome.rstrip('.')}.")
    return judged.outcome


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_features_cut_short_never_become_a_batch_that_every_night_stops_at(ready, share):
    np.savez(ready / "x.npz", features=np.ones((6, 5), "f"), labels=[0, 0, 0, 1, 1, 1])
    whole = (ready / "x.npz").read_bytes()
    (ready / "x.npz").write_bytes(whole[: int(share * len(whole))])
    assert "x.npz is refused: deliveries/x.npz must be a whole numpy file" in verdict(ready)


def test_features_of_another_width_are_refused_at_the_door(ready):
    np.savez(ready / "x.npz", features=np.ones((6, 4), "f"), labels=[0, 0, 0, 1, 1, 1])
    assert (
        verdict(ready) == "x.npz is refused: ready features must have the core's 5 columns, got 4 in deliveries/x.npz"
    )


def test_images_beside_ready_features_are_refused_at_the_door(ready):
    image(ready / "d1/0/1.png")
    (ready / "d1/.complete").touch()
    assert "d1 is refused: a delivery must be ready features, as the core's are" in verdict(ready)


def test_a_delivery_of_other_classes_alone_is_refused_at_the_door(ready):
    manifest.write(
        paths.manifest("core"), manifest.samples(manifest.Sample(f"s{i}", "core.npz", str(i)) for i in (0, 1))
    )
    np.savez(ready / "x.npz", features=np.ones((6, 5), "f"), labels=["zero", "zero", "zero", "one", "one", "one"])
    assert verdict(ready) == (
        "x.npz is refused: a delivery: deliveries/x.npz must hold samples of the core's classes, 0, 1, got only "
        "others: one, zero. Are labels and folders those that the core has?"
    )
    np.savez(ready / "x.npz", features=np.ones((6, 5), "f"), labels=["zero", "zero", "zero", "1.0", "one", "one"])
    inspection.look.cache_clear()
    assert verdict(ready) == "x.npz is b001"


def test_fitting_features_are_accepted(ready):
    np.savez(ready / "x.npz", features=np.ones((6, 5), "f"), labels=[0, 0, 0, 1, 1, 1])
    assert verdict(ready) == "x.npz is b001"
