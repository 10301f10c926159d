"""Labels that come back: what holds becomes a batch of the pool, what does not is refused with its line."""

import json
import subprocess
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from diva.ingest import annotations
from diva.store import index, ledger, manifest, parts, paths, suggested, tables
from diva.store.features import FeatureFile
from diva.versions import labelling, reviews, takedowns, tasks
from flows import artifacts, deliveries
from stages.download import download
from stages.extract import extract
from stages.pool import pool
from tests.projects import real_stages as project
from tests.projects import stage_inputs as small

STRICT = ConfigDict(extra="forbid", strict=True)


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A core of the classes a and b, and six samples of the pool that wait, three of them suggested; their ids."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    names = ["core/a/1", "core/a/2", "core/b/3", "core/b/4", *(f"more/{number}" for number in range(6))]
    for number, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), 20 * number).save(f"{name}.png")
    small.write_params()
    small.write_ledger(core=("core", {}), b001=("more", {}))
    for name in ("core", "b001"):
        download(name)
        small.extract(name)
    small.fit()
    index.write(paths.pool("b000"), tables.empty(index.SCHEMA))
    pool("b001")
    waiting = index.whole(paths.pool("b001"))["sample_id"].to_list()
    about = {
        "path": [f"more/{number}.png" for number in range(3)],
        "rank": range(1, 4),
        "reason": "",
        "suggested_label": ["a", "a", "b"],
        "probability": 0.9,
    }
    rows = pl.DataFrame({"sample_id": waiting[:3], **about, "gain": 1.0})
    tables.write(paths.suggested("pool"), rows, suggested.SCHEMA)
    return waiting


def reasons(record: pl.DataFrame) -> list[str]:
    return record["reason"].drop_nulls().to_list()


def test_labels_become_the_next_batch_and_what_cannot_be_is_refused_with_its_line(ids: list[str]) -> None:
    takedowns.add(reviews.forget(ledger.read(), [ids[3]], "asked"))
    lines = ["sample_id;label", f"{ids[0]}; a ", f"{ids[1]};b", f"{ids[1]};a", f"{ids[3]};a", "nobody;a", f"{ids[4]};z"]
    lines += [f"{ids[5]};", "more/2.png;b", f"{ids[0]};a", f"{index.read(paths.CORE)['sample_id'][0]};a"]
    Path("labels.csv").write_text("\n".join(lines))
    record = labelling.checked(ledger.read(), Path("labels.csv"))
    assert reasons(record) == [
        "two labels: 'b' in line 3, 'a' in line 4",
        "two labels: 'b' in line 3, 'a' in line 4",
        "taken down: line 5",
        "unknown sample: 'nobody' in line 6",
        "class the core lacks: 'z' in line 7",
        "no label: line 8",
        "labelled already: line 11",
    ]
    assert labelling.described(record) == "2 labels; 2 of 2 as suggested; 7 refused"
    labelling.publish(labelling.accepted(ledger.read(), record, "labels.csv"), record)
    assert subprocess.check_output(["git", "ls-files", "data/labels"]).count(b"\n") == 1
    assert reviews.of_git() == [takedowns.FILE, paths.LABELS], "a commit of decisions holds what the ledger names"
    assert labelling.waiting(ledger.read())["sample_id"].to_list() == [ids[1], ids[4], ids[5]], (
        "0 and 2 are on their way"
    )
    older = index.whole(paths.pool("b001"))
    index.write(paths.pool("b001"), older.with_columns(site=pl.format("site {}", pl.int_range(pl.len()))))
    for stage in (download, small.extract, pool):
        stage("b002")
    sites = index.whole(paths.pool("b002"), further=True)["site"].to_list()
    assert sites == [f"site {number}" for number in (1, 3, 4, 5, 0, 2)], "what a list said of a sample stays"
    now = index.whole(paths.pool("b002"))
    assert now.select("sample_id", "label", "batch").rows() == [
        *((ids[number], None, "b001") for number in (1, 3, 4, 5)),
        (ids[0], "a", "b002"),
        (ids[2], "b", "b002"),
    ]
    aside = tables.read(paths.quarantine("download", "b002"), manifest.QUARANTINE)
    assert aside["reason"].to_list() == reasons(record)
    Path("gone.csv").write_text(f"sample_id,label\n{ids[3]},a\n")
    with pytest.raises(ValueError, match=r"samples that wait for one, got none:\n  taken down: line 2\. Leave it out"):
        labelling.checked(ledger.read(), Path("gone.csv"))


def test_a_label_by_the_path_of_an_image_at_the_root_is_taken(ids: list[str]) -> None:
    path = pl.when(pl.col("sample_id") == ids[0]).then(pl.lit("0.png")).otherwise("path")
    index.write(paths.pool("b001"), index.whole(paths.pool("b001")).with_columns(path=path))
    Path("labels.csv").write_text("path,label\n0.png,a\n")
    assert labelling.checked(ledger.read(), Path("labels.csv"))["sample_id"].to_list() == [ids[0]]


def test_labels_of_ready_features_are_of_what_was_stored_whatever_becomes_of_the_delivery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    for name, seeds in (("core.npz", range(18)), ("test.npz", range(50, 56))):
        project.pack(Path(name), seeds)
    project.pack(Path("pool.npz"), range(100, 106), labels=[""] * 6)
    project.begin("core.npz", "test.npz")
    project.accept("pool.npz")
    for stage in (download, extract, pool):
        stage("b001")
    ids = labelling.waiting(ledger.read())["sample_id"].to_list()
    paths.manifest("b001").unlink()  # as a compaction does
    project.pack(Path("pool.npz"), range(50, 56))  # now the test set's rows
    Path("labels.csv").write_text(f"sample_id,label\n{ids[3]},cat\n{ids[1]},dog\n")
    record = labelling.checked(ledger.read(), Path("labels.csv"))
    labelling.publish(labelling.accepted(ledger.read(), record, "labels.csv"), record)
    for stage in (download, extract, pool):
        stage("b002")
    stored, now = FeatureFile(paths.features("b001")), FeatureFile(paths.features("b002"))
    assert (now.read() == stored.read([3, 1])).all()
    assert index.read(paths.pool("b002")).select("sample_id", "label").rows() == [(ids[3], "cat"), (ids[1], "dog")]
    paths.features("b001").write_bytes(paths.features("core").read_bytes())
    paths.features("b002").unlink()
    with pytest.raises(ValueError, match=rf"data/features/b001\.h5 must hold the features of {ids[3]}"):
        extract("b002")


def test_tasks_of_label_studio_and_images_of_cvat_bring_labels_too(ids: list[str]) -> None:
    def task(number: int, data: dict[str, str], *choices: str, **more: bool) -> dict[str, object]:
        result = [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": list(choices)}}]
        return {"id": number, "data": data, "annotations": [{"result": result, "was_cancelled": False} | more]}

    tasks = [
        task(7, {"image": "/data/local-files/?d=x/more/0.png", "sample_id": ids[0]}, "a"),
        task(8, {"image": "more/1.png"}, "b"),
        task(9, {"image": "more/2.png"}, "b", was_cancelled=True),
        task(10, {"image": "more/3.png"}, "a", "b"),
        {"id": 11, "data": {"image": "more/4.png"}, "annotations": []},
    ]
    Path("export.json").write_text(json.dumps(tasks))
    record = labelling.checked(ledger.read(), Path("export.json"))
    assert record.filter(pl.col("reason").is_null())["sample_id"].to_list() == ids[:2]
    assert reasons(record) == ["class the core lacks: 'a and b' in task 10"]
    assert labelling.agreement(record) == (1, 2)
    images = "".join(
        f'<image id="{n}" name="more/{n}.png"><tag label="{label}"/></image>' for n, label in [(2, "b"), (5, "a")]
    )
    Path("cvat.xml").write_text(f'<?xml version="1.0"?>\n<annotations>{images}</annotations>')
    assert [tuple(row) for row in annotations.read(Path("cvat.xml"))] == [
        ("image 2", "more/2.png", "b"),
        ("image 5", "more/5.png", "a"),
    ]
    bombs = {
        "b.xml": '<!DOCTYPE x [<!ENTITY a "b">]><x/>',
        "b.json": '{"a": 1}',
        "b.csv": "id,name\n1,2\n",
        "b.txt": "x",
    }
    for name, text in bombs.items():
        Path(name).write_text(text)
        with pytest.raises(ValueError, match=rf"{name}"):
            annotations.read(Path(name))


def test_a_marked_file_of_the_watched_folder_brings_labels_once(ids: list[str]) -> None:
    Path("deliveries").mkdir()
    watched = deliveries.Watched("deliveries")
    Path("deliveries/x.json").write_text("[]")
    assert [arrival.waits[:19] for arrival in watched.arrivals()] == ["it is neither a fol"], "of no use but for labels"
    Path("deliveries/x.json.labels").touch()
    assert [(arrival.to, arrival.waits) for arrival in watched.arrivals()] == [
        ("labels", "x.json.complete is not there yet")
    ]
    Path("deliveries/x.json.complete").touch()
    Path("deliveries/x.csv").write_text(f"sample_id,label\n{ids[0]},b\nnobody,a\n")
    for marker in ("labels", "complete"):
        Path(f"deliveries/x.csv.{marker}").touch()
    small.write_params(download=small.PARAMS["download"])
    good, bad = deliveries.new(ledger.read(), "deliveries")
    assert "x.json must hold at least one label, got none" in deliveries.judge(ledger.read(), bad).outcome
    assert not deliveries.obstacle(ledger.read(), good)
    assert not paths.LABELS.exists(), "a look writes nothing"
    verdict = deliveries.judge(ledger.read(), good)
    assert verdict.outcome.splitlines()[0] == "x.csv is b002: 1 label; 0 of 1 as suggested; 1 refused"
    assert "unknown sample: 'nobody' in line 3" in verdict.outcome
    assert verdict.book is not None
    assert verdict.record is not None
    labelling.publish(verdict.book, verdict.record)
    assert [arrival.name for arrival in deliveries.new(ledger.read(), "deliveries")] == ["x.json"]
    assert artifacts.labelled(ledger.read(), "b002") == "1 label; 0 of 1 as suggested; 1 refused; "
    assert artifacts.labelled(ledger.read(), "b001") == ""
    tables.write_json(paths.metrics("suggest/pool"), {"waiting": 5, "suggested": 3, "rule": "margin"})
    assert artifacts.asked() == ["- 5 samples wait for a label, 3 are asked for, by margin"]


class Value(BaseModel):
    model_config = STRICT
    choices: list[str] = Field(min_length=1)


class Region(BaseModel):
    """A result of a pre-annotation, as Label Studio documents it for the control tag Choices."""

    model_config = STRICT
    id: str
    type: Literal["choices"]
    from_name: str
    to_name: str
    value: Value


class Prediction(BaseModel):
    model_config = STRICT
    model_version: str
    score: float = Field(ge=0, le=1)
    result: list[Region] = Field(min_length=1)


class ImportTask(BaseModel):
    """A task of Label Studio's import format: labelstud.io/guide/predictions."""

    model_config = STRICT
    data: dict[str, str | int]
    predictions: list[Prediction] = []


def test_suggestions_become_tasks_of_label_studio_and_a_table_and_come_back(ids: list[str]) -> None:
    takedowns.add(reviews.forget(ledger.read(), [ids[1]], "asked"))
    assert tasks.export_tasks("labelstudio", Path("studio")) == 2
    first, second = TypeAdapter(list[ImportTask]).validate_json(Path("studio/tasks.json").read_text())
    assert [task.data["sample_id"] for task in (first, second)] == [ids[0], ids[2]]
    assert first.data["image"] == f"/data/local-files/?d={Path('more/0.png').absolute().as_posix()[1:]}"
    assert (first.predictions[0].score, first.predictions[0].result[0].value.choices) == (0.9, ["a"])
    view = ElementTree.fromstring(Path("studio/config.xml").read_text())  # noqa: S314 - our own
    image, control = view.find("Image"), view.find("Choices")
    assert image is not None
    assert control is not None
    region = first.predictions[0].result[0]
    assert (
        (region.from_name, region.to_name)
        == (control.get("name"), image.get("name"))
        == ("label", control.get("toName"))
    )
    assert [choice.get("value") for choice in control] == ["a", "b"]
    assert image.get("value") == "$image"
    assert tasks.export_tasks("csv", Path("table"), copy=True, prefix="https://host/") == 2
    table = pl.read_csv("table/tasks.csv")
    assert table["path"][0] == f"https://host/table/images/{ids[0]}.png"
    assert Path(f"table/images/{ids[0]}.png").read_bytes() == Path("more/0.png").read_bytes()
    table.with_columns(label=pl.Series(["a", "b"])).write_csv("back.csv")
    record = labelling.checked(ledger.read(), Path("back.csv"))
    assert labelling.described(record) == "2 labels; 2 of 2 as suggested"
    labelling.publish(labelling.accepted(ledger.read(), record, "back.csv"), record)
    with pytest.raises(ValueError, match=r"data/suggested must hold samples to label, got none; set suggest\.of"):
        tasks.export_tasks("csv", Path("more"))
    with pytest.raises(ValueError, match="--format of SUGGESTED must be one of labelstudio, cvat, csv, got coco"):
        tasks.export_tasks("coco", Path("other"))


def test_suggestions_become_images_with_tags_for_cvat_and_come_back(ids: list[str]) -> None:
    assert tasks.export_tasks("cvat", Path("cvat")) == 3
    images = list(annotations.cvat_images(Path("cvat/annotations.xml")))
    assert {f"images/{image.get('name')}" for image in images} == {
        path.relative_to("cvat").as_posix() for path in Path("cvat/images").iterdir()
    }
    said = {Path(image.get("name", "")).stem: [tag.get("label") for tag in image.iter("tag")] for image in images}
    wanted = suggested.newest().select("sample_id", "suggested_label").iter_rows()
    assert said == {name: [label] for name, label in wanted}
    assert set(said) == set(ids[:3])
    assert {label["name"] for label in json.loads(Path("cvat/labels.json").read_text())} == {"a", "b"}
    record = labelling.checked(ledger.read(), Path("cvat/annotations.xml"))
    assert labelling.agreement(record) == (3, 3)


def test_images_within_archives_become_tasks_as_checked_copies(ids: list[str]) -> None:
    rows = tables.read(paths.suggested("pool"), suggested.SCHEMA)
    with tarfile.open("wait.TAR", "w") as file:
        for number in range(3):
            file.add(f"more/{number}.png")
    with tarfile.open("wait.TAR") as file:
        places = [parts.path_of(Path("wait.TAR"), info.offset_data, info.size, info.name) for info in file.getmembers()]
    within = rows.with_columns(path=pl.Series([place.as_posix() for place in places]))
    tables.write(paths.suggested("pool"), within, suggested.SCHEMA)
    for form in tasks.FORMATS:
        if form != "cvat":  # which takes its images along
            with pytest.raises(ValueError, match=r"files of their own, got wait\.TAR#\d+.*; use --copy"):
                tasks.export_tasks(form, Path("none"))
        assert tasks.export_tasks(form, Path(form), copy=True) == 3
        assert Path(f"{form}/images/{ids[0]}.png").read_bytes() == Path("more/0.png").read_bytes()
    tables.write(paths.suggested("pool"), rows, suggested.SCHEMA)
    Image.new("L", (2, 2), 7).save("more/1.png")
    with pytest.raises(ValueError, match=r"more/1\.png must be the image that was curated, got other content"):
        tasks.export_tasks("csv", Path("changed"), copy=True)
    assert not Path("changed").exists()
