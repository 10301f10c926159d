"""Stage download: manifest, quarantine, truth, metrics; the same bytes again; mistakes as messages."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from diva.store import ledger, manifest, paths, tables
from stages.download import download
from tests.projects import stage_inputs as small


def command(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(project)}
    return subprocess.run(
        [sys.executable, "-m", *arguments], env=environment, capture_output=True, text=True, check=False
    )


def outputs() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(paths.DATA.rglob("*")) if path.is_file()}


def test_a_batch_is_brought_and_described(workplace: Path) -> None:
    small.write_ledger(test=("none", {}))
    download("core")
    download("test")
    core = manifest.read(paths.manifest("core"))
    assert len(core) == len(list(paths.raw("core").iterdir())) == 60
    truth = tables.read(paths.truth("core"), manifest.TRUTH).join(core, on="sample_id")
    assert (truth["label"] != truth["true_label"]).sum() == 12
    assert json.loads((paths.METRICS / "download" / "core.json").read_text()) == {
        "samples": 60,
        "classes": 10,
        "quarantined": 0,
        "reasons": {},
    }
    assert paths.raw("test").is_dir()
    assert manifest.read(paths.manifest("test")).is_empty()
    assert tables.read(paths.quarantine("download", "test"), manifest.QUARANTINE).is_empty()


def test_two_fresh_runs_write_the_same_bytes(workplace: Path) -> None:
    small.write_ledger()
    download("core")
    first = outputs()
    shutil.rmtree(paths.DATA / "raw")
    shutil.rmtree(paths.DATA / "manifests")
    download("core")
    assert outputs() == first


def test_planted_wrong_labels_are_nowhere_but_in_the_truth(workplace: Path) -> None:
    small.write_ledger()
    download("core")
    columns = pl.read_parquet(paths.manifest("core")).columns
    assert columns == [name for name in manifest.SCHEMA if name != "group"]  # no groups
    assert "wrong" not in (paths.METRICS / "download" / "core.json").read_text()


def test_a_changed_delivery_stops_with_a_message_and_nothing_written(workplace: Path, project: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/4.png"):
        (workplace / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), int(name[2])).save(workplace / "photos" / name)
    small.write_ledger(core=("photos", {}))
    (workplace / "photos" / "a" / "1.png").unlink()
    ended = command(project, "stages.download", "--batch", "core")
    assert ended.returncode == 1
    assert "stages.download: batches.core.checksum must be" in ended.stderr
    assert "changed since it was accepted" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(path.name for path in paths.DATA.iterdir()) == ["ledger.yaml"]


def test_a_core_of_one_class_leaves_nothing_behind(workplace: Path) -> None:
    (workplace / "photos" / "a").mkdir(parents=True)
    for number in range(3):
        Image.new("L", (2, 2), number).save(workplace / "photos" / "a" / f"{number}.png")
    small.write_ledger(core=("photos", {}))
    with pytest.raises(ValueError, match=r"at least two classes with two samples each, got \['a'\]"):
        download("core")
    assert not paths.raw("core").exists()
    assert not paths.manifest("core").exists()


def test_a_batch_or_a_key_that_there_is_not_is_named(workplace: Path) -> None:
    small.write_ledger()
    with pytest.raises(ValueError, match=r"ledger\.yaml:batches must have an entry b001, got core"):
        download("b001")
    small.write_params(download={"worker": 2, "max_pixels": 5})
    with pytest.raises(ValueError, match=r"params\.yaml:download\.workers: field required, got nothing"):
        download("core")


def test_images_in_place_are_set_aside_but_never_stop_the_run(workplace: Path) -> None:
    for number in range(4):
        path = workplace / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), number).save(path)
    (workplace / "photos" / "a" / "broken.png").touch()
    small.write_ledger(core=("photos", {}))
    download("core")
    (note,) = paths.raw("core").iterdir()
    assert "lie where they were delivered" in note.read_text()
    assert manifest.read(paths.manifest("core"))["path"].to_list() == [
        f"photos/{n}.png" for n in ("a/0", "a/2", "b/1", "b/3")
    ]
    refused = tables.read(paths.quarantine("download", "core"), manifest.QUARANTINE)
    assert refused.select("path", "reason").rows() == [("photos/a/broken.png", "zero bytes")]
    assert json.loads((paths.METRICS / "download" / "core.json").read_text())["reasons"] == {"zero bytes": 1}


@pytest.mark.parametrize("stage", ["download", "pool", "start", "curate", "release"])
def test_the_stage_imports_no_torch(project: Path, stage: str) -> None:
    program = (
        f"import stages.{stage}, sys; sys.exit(bool({{'torch', 'torchvision', 'dvc', 'prefect'}} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=project, check=False).returncode == 0


def test_the_ledger_is_only_read(workplace: Path) -> None:
    book = small.write_ledger()
    before = paths.LEDGER.read_bytes()
    download("core")
    assert paths.LEDGER.read_bytes() == before
    assert ledger.read() == book
