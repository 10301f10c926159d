"""The same images in the layout of each format, written by the library whose format it is."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

CLASSES = ("cat", "dog", "owl")
SEEDS = range(12)


def label(seed: int) -> str:
    return CLASSES[seed % 3]


def site(seed: int) -> str:
    return f"site {seed % 2}"


def png(seed: int) -> bytes:
    """An image whose class its colour tells."""
    pixels = np.random.default_rng(seed).integers(0, 160, (12, 14, 3))
    pixels[..., seed % 3] += 90
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def files(folder: Path) -> list[Path]:
    """The images as files of one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    named = [folder / f"{seed:03d}.png" for seed in SEEDS]
    for seed, path in zip(SEEDS, named, strict=True):
        path.write_bytes(png(seed))
    return named


def plain(folder: Path) -> Path:
    """class/image."""
    for seed in SEEDS:
        path = folder / "plain" / label(seed) / f"{seed:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(seed))
    return folder / "plain"


def hugging_face(folder: Path) -> Any:
    """The images as a data set in memory."""
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    names = datasets.ClassLabel(names=list(CLASSES))
    features = datasets.Features({"image": datasets.Image(), "label": names, "site": datasets.Value("string")})
    rows = {
        "image": [{"bytes": png(seed), "path": f"{seed:03d}.png"} for seed in SEEDS],
        "label": [CLASSES.index(label(seed)) for seed in SEEDS],
        "site": [site(seed) for seed in SEEDS],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def saved(folder: Path) -> Path:
    hugging_face(folder).save_to_disk(folder / "saved", num_shards=2)
    return folder / "saved"


def parquet(folder: Path) -> Path:
    path = folder / "hub" / "data" / "train-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    hugging_face(folder).to_parquet(path)
    return folder / "hub"


def split_folders(folder: Path) -> Path:
    """A data set of two splits, as ``save_to_disk`` writes it."""
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    whole = hugging_face(folder)
    both = datasets.DatasetDict({"train": whole, "test": whole.select(range(3))})
    both.save_to_disk(folder / "splits")
    return folder / "splits"


def image_folder(folder: Path) -> Path:
    """imagefolder with metadata.jsonl."""
    named = files(folder / "imagefolder")
    rows = [{"file_name": path.name, "label": label(seed), "site": site(seed)} for seed, path in enumerate(named)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "imagefolder" / "metadata.jsonl").write_text(text, encoding="utf-8")
    return folder / "imagefolder"


def shards(folder: Path) -> str:
    """Two WebDataset shards, by their pattern."""
    webdataset = pytest.importorskip("webdataset", reason="the package webdataset is not installed")
    (folder / "shards").mkdir(parents=True)
    for number in range(2):
        with webdataset.TarWriter(str(folder / "shards" / f"part-{number:03d}.tar")) as writer:
            for seed in SEEDS[number * len(SEEDS) // 2 : (number + 1) * len(SEEDS) // 2]:
                about = {"label": label(seed), "site": site(seed)}
                writer.write({"__key__": f"{seed:03d}", "png": png(seed), "json": about})
    return str(folder / "shards" / "part-{000..001}.tar")


def label_studio(folder: Path) -> Path:
    """A JSON export of Label Studio: a choice each image, by the three kinds of address it has."""
    named = files(folder / "ls" / "images")
    starts = ("/data/local-files/?d=images/", "/data/upload/3/0a1b2c3d-", "s3://bucket/some/where/")
    tasks = []
    for seed, path in enumerate(named):
        choice = {"type": "choices", "from_name": "label", "to_name": "image", "value": {"choices": [label(seed)]}}
        said = [{"id": seed, "was_cancelled": False, "result": [choice]}]
        said += [{"was_cancelled": True, "result": [{**choice, "value": {"choices": ["ant"]}}]}]
        data = {"image": starts[seed % 3] + path.name, "site": site(seed), "boxes": [1]}
        tasks.append({"id": seed, "data": data, "annotations": said, "predictions": []})
    (folder / "ls" / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    return folder / "ls"


def cvat(folder: Path) -> Path:
    """CVAT's XML for images: a tag each image."""
    tags = [
        f'<image id="{seed}" name="{path.name}" width="14" height="12"><tag label="{label(seed)}" source="manual">'
        f'<attribute name="site">{site(seed)}</attribute></tag></image>'
        for seed, path in enumerate(files(folder / "cvat" / "images"))
    ]
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{"".join(tags)}</annotations>'
    (folder / "cvat" / "annotations.xml").write_text(text, encoding="utf-8")
    return folder / "cvat"


LAYOUTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "saved": (saved, "huggingface"),
    "parquet": (parquet, "huggingface"),
    "split_folders": (split_folders, "huggingface"),
    "image_folder": (image_folder, "huggingface"),
    "shards": (shards, "webdataset"),
    "label_studio": (label_studio, "labelstudio"),
    "cvat": (cvat, "cvat"),
}


def boxes(folder: Path) -> tuple[Path, pl.DataFrame]:
    """A COCO file of two images, and its boxes: label, group, and where each is."""
    (folder / "images").mkdir(parents=True)
    images, annotations, expected = [], [], []
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        images.append({"id": 10 + number, "file_name": f"{number}.png", "width": 60, "height": 40})
        for box in range(3):
            place = [box * 20, 5, 18, 30]
            annotations.append(
                {"id": 3 * number + box, "image_id": 10 + number, "category_id": box + 1, "bbox": place, "score": 0.5}
            )
            expected.append({"label": CLASSES[box], "group": f"{number}.png", "image": number, "left": box * 20})
    categories = [{"id": code + 1, "name": name} for code, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "boxes.json", pl.DataFrame(expected)


def yolo_boxes(folder: Path) -> Path:
    """The boxes of ``boxes`` for YOLO: the first image as boxes, the second as outlines."""
    boxes(folder)
    (folder / "boxes.json").unlink()
    (folder / "images").rename(folder / "train")
    (folder / "images").mkdir()
    (folder / "train").rename(folder / "images" / "train")
    (folder / "labels" / "train").mkdir(parents=True)
    for number in range(2):
        lines = []
        for box in range(3):
            x, y, width, height = (20 * box / 60, 5 / 40, 18 / 60, 30 / 40)
            corners = [x, y, x + width, y, x + width, y + height, x, y + height]
            lines.append([box, *([x + width / 2, y + height / 2, width, height] if number == 0 else corners)])
        text = "".join(" ".join(map(str, line)) + "\n" for line in lines)
        (folder / "labels" / "train" / f"{number}.txt").write_text(text, encoding="utf-8")
    names = "".join(f"  {code}: {name}\n" for code, name in enumerate(CLASSES))
    text = f"path: ../datasets/mine\ntrain: ../images/train\nval: images/val\nnc: 3\nnames:\n{names}"
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    return folder / "data.yaml"


def label_studio_boxes(folder: Path) -> Path:
    """The boxes of ``boxes`` as rectangles of Label Studio."""
    boxes(folder)
    (folder / "boxes.json").unlink()
    tasks = []
    for number in range(2):
        values = [
            {"x": 2000 * box / 60, "y": 500 / 40, "width": 1800 / 60, "height": 3000 / 40, "rotation": 0,
             "rectanglelabels": [CLASSES[box]]} for box in range(3)
        ]  # fmt: skip
        result = [{"type": "rectanglelabels", "original_width": 60, "value": value} for value in values]
        data = {"picture": f"http://host/{number}.png"}
        tasks.append({"id": number, "data": data, "annotations": [{"result": result}]})
    (folder / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    return folder / "export.json"


def cvat_boxes(folder: Path) -> Path:
    """The boxes of ``boxes`` for CVAT: the first image as boxes, the second as polygons."""
    boxes(folder)
    (folder / "boxes.json").unlink()
    images = []
    for number in range(2):
        shapes = []
        for box in range(3):
            x, label = 20 * box, CLASSES[box]
            sides = f'xtl="{x}.00" ytl="5.00" xbr="{x + 18}.00" ybr="35.00"'
            points = f"{x},5;{x + 18},5;{x + 18}.0,35.0"
            shapes.append(
                f'<box label="{label}" {sides}/>' if number == 0 else f'<polygon label="{label}" points="{points}"/>'
            )
        images.append(f'<image id="{number}" name="{number}.png">{"".join(shapes)}</image>')
    (folder / "annotations.xml").write_text(f"<annotations>{''.join(images)}</annotations>", encoding="utf-8")
    return folder / "annotations.xml"


BOXES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "yolo": (yolo_boxes, "yolo"),
    "label_studio": (label_studio_boxes, "labelstudio"),
    "cvat": (cvat_boxes, "cvat"),
}


def tar(path: Path, members: dict[str, bytes]) -> Path:
    """A shard by hand, for what no library writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path
