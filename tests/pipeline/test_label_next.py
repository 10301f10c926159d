"""From images without labels to a published set, in a project of its own: asked for, labelled by people, taken."""

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest
from pydantic import TypeAdapter

from diva.store import curated, index, manifest
from tests.projects.checkout import Project, checkout
from tests.versions.test_labelling import ImportTask

CLASSES, CORE, TEST, POOL = 20, 8, 4, 200  # classes; images a class that train and test; images without a label


def photographs(shared_data: Path, root: Path) -> dict[str, str]:
    """photos/core, photos/test (class/image.jpg) and photos/pool (image.jpg); the pool's labels, by its file names."""
    listed = pl.read_csv(shared_data / "flowers102" / "index.csv")
    listed = listed.select(path="file", label="class_name")
    truth: dict[str, str] = {}
    sizes = listed.group_by("label").len().sort("len", "label", descending=[True, False])
    for label in sizes["label"].head(CLASSES):
        for number, path in enumerate(listed.filter(pl.col("label") == label)["path"]):
            part = "core" if number < CORE else "test" if number < CORE + TEST else "pool"
            target = root / "photos" / part / ("" if part == "pool" else str(label)) / f"{label}-{number:03d}.jpg"
            if number >= CORE + TEST + POOL // CLASSES:
                break
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shared_data / "flowers102" / path, target)
            if part == "pool":
                truth[target.name] = str(label)
    return truth


def small(params: dict[str, Any]) -> None:
    params["extract"] |= {"resize": 96, "crop": 96}
    params["extend"] |= {"per_round": 1.0, "stop": False}  # all that has a label, so that it is judged as members are
    params["reweight"] |= {"steps": 1, "folds": 2}
    params["evaluate"] |= {"draws": 20, "uniform": 1, "learners": ["ridge"]}
    params["suggest"] |= {"of": ["pool"], "budget": 100}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = checkout(tmp_path / "project")
    (made.root / ".git" / "info" / "exclude").write_text("deliveries/\nphotos/\ntasks/\n")
    return made


@pytest.mark.slow
def test_two_nights_from_images_without_labels_to_a_published_set(project: Project, shared_data: Path) -> None:
    truth = photographs(shared_data, project.root)
    assert len(truth) == POOL
    said = project.diva("init", *(f"--{name}=photos/{name}" for name in ("core", "pool", "test"))).stdout
    assert "200 images, 0 classes, 200 of them without a label" in " ".join(said.split())
    project.edit("params.yaml", small)
    project.commit("Our data")
    project.nightly()
    assert project.tags() == ["curated@v0.1.0"]
    assert index.whole(project.root / "data/pool/b001.parquet")["label"].null_count() == POOL
    assert pl.read_parquet(project.root / "data/release/train.parquet")["origin"].unique().to_list() == ["core"]

    project.diva("export", "SUGGESTED", "--format", "labelstudio", "--to", "tasks")
    asked = TypeAdapter(list[ImportTask]).validate_json((project.root / "tasks/tasks.json").read_text())
    assert len(asked) == 100
    classes = sorted(set(truth.values()))
    names = [str(task.data["sample_id"]) for task in asked]
    right = {str(task.data["sample_id"]): truth[unquote(str(task.data["image"])).rpartition("/")[2]] for task in asked}
    wrong = {name: classes[(classes.index(right[name]) + 5) % len(classes)] for name in names[5:95:9]}
    assert len(wrong) == 10
    gone = names[0]
    project.diva("forget", gone)

    def done(number: int, name: str, label: str) -> dict[str, Any]:
        result = {"type": "choices", "from_name": "label", "to_name": "image", "value": {"choices": [label]}}
        return {"id": number, "data": {"sample_id": name}, "annotations": [{"result": [result]}]}

    tasks = [done(number, name, wrong.get(name, right[name])) for number, name in enumerate(names, 1)]
    tasks += [done(101, "nobody", classes[0]), done(102, names[1], wrong.get(names[2], classes[0]))]
    tasks += [done(103, names[1], classes[1])]
    back = project.root / "deliveries" / "back.json"
    back.parent.mkdir()
    back.write_text(json.dumps(tasks))
    for marker in ("labels", "complete"):
        back.with_name(f"back.json.{marker}").touch()
    bad = project.root / "deliveries" / "bad.csv"  # not marked: for the command alone
    bad.write_text(f"sample_id,label\n{gone},{classes[0]}\nnobody,{classes[0]}\n")
    refused = project.diva("label", str(bad), check=False)
    assert refused.returncode == 1
    assert "taken down: line 2" in refused.stderr
    assert "unknown sample: 'nobody' in line 3" in refused.stderr
    assert (project.root / "data/labels").exists() is False

    night = project.nightly()
    assert project.tags() == ["curated@v0.1.0", "curated@v0.2.0"]
    assert "back.json is b002: 98 labels;" in night.stdout + night.stderr
    assert night.stdout.splitlines()[-1] == "Published: curated@v0.2.0."
    *_, found, error, following = (line for line in night.stderr.splitlines() if " | INFO " in line)
    assert "labels are called wrong" in found
    assert "error" in error
    assert "| Next: " in following
    aside = pl.read_parquet(project.root / "data/quarantine/download-b002.parquet")
    assert dict(manifest.kinds(aside)) == {"taken down": 1, "two labels": 3, "unknown sample": 1}
    state = curated.read(project.root / "data/curated/r002.parquet")
    taken = state.filter(pl.col("origin") == "pool")
    assert set(taken["sample_id"]) == set(names[2:])
    called = set(taken.filter(curated.called_wrong())["sample_id"])
    assert len(called & set(wrong)) >= 2, "of ten; a dozen rows a class, at 96 pixels, say little"
    suspicious = taken.sort("score", descending=True)["sample_id"].head(30)
    assert len(set(suspicious) & set(wrong)) >= 9, "of ten wrong labels, in the first third"
    left = index.whole(project.root / "data/pool/b002.parquet").filter(pl.col("label").is_null())["sample_id"]
    assert set(left) == set(index.whole(project.root / "data/pool/b001.parquet")["sample_id"]) - set(names[2:])
    suggested = set(pl.read_parquet(project.root / "data/suggested/pool.parquet")["sample_id"])
    assert suggested <= set(left) - {gone}
    assert "fault" not in project.diva("verify", "--all").stderr
