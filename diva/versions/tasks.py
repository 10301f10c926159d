"""Samples to label next as tasks for other tools: what Label Studio imports, or a table to fill in.

    labelstudio   tasks.json (data.image, data.sample_id; a prediction with its score) and config.xml, the interface
    cvat          annotations.xml (CVAT for images 1.1; a tag with what the model would say), labels.json, and the
                  images, copied, named by their sample_id
    csv           tasks.csv: sample_id, path, an empty label, and what the model would say

Images are named by their path, or by a URL; they are copied only where that is asked for. What comes back, filled in or
exported as JSON or XML, is taken by ``diva label``.
"""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from diva.store import index, ledger, parts, paths, remote
from diva.versions import labelling
from diva.versions.export import class_name, copy_image, image_size, new_folder, require_images, suffix
from diva.versions.writers import cvat, label_studio
from diva.versions.writers.label_studio import LOCAL
from diva.versions.writers.pictures import PlacedImage

FORMATS = ("labelstudio", "cvat", "csv")


def export_tasks(form: str, folder: Path, *, copy: bool = False, prefix: str | None = None) -> int:
    """Write the suggestions that still wait for their label into ``folder``; return how many there are.

    Args:
        form: one of ``FORMATS``.
        folder: a new or an empty one; it is there when everything is.
        copy: copy images to folder/images.
        prefix: what stands before the path of an image; None for ``LOCAL`` in tasks of Label Studio, else nothing.

    Raises:
        ValueError: another form, no suggestions, ready features as tasks of images, images within archives that are not
            copied, an image that is another by now.
    """
    if form not in FORMATS:
        raise ValueError(f"--format of SUGGESTED must be one of {', '.join(FORMATS)}, got {form}.")
    rows = labelling.asked(ledger.read())
    if rows.is_empty():
        raise ValueError(
            f"{paths.SUGGESTED} must hold samples to label, got none; set suggest.of: [pool] in {paths.PARAMS}, then "
            "`dvc repro`."
        )
    copy = copy or form == "cvat"
    if form == "labelstudio" or copy:
        require_images(rows, form)
    if not copy and (within := [path for path in rows["path"] if parts.part_of(path)]):
        raise ValueError(f"images must be files of their own, got {within[0]}, within an archive; use --copy.")
    with new_folder(folder) as fresh:
        if copy:
            rows = rows.with_columns(path=pl.Series(_copied(rows, fresh, folder), dtype=pl.String))
        if form == "csv":
            columns: list[Any] = ["sample_id", pl.format("{}{}", pl.lit(prefix or ""), "path").alias("path")]
            empty = pl.lit("").alias("label")
            rows.select(*columns, empty, "suggested_label", "probability", "rank", "reason").write_csv(
                fresh / "tasks.csv"
            )
        elif form == "cvat":
            pictures = [placed(row, fresh) for row in rows.iter_rows(named=True)]
            cvat.write(pictures, fresh, index.read(paths.CORE)["label"].unique(), "auto")
        else:
            tasks = [task(row, LOCAL if prefix is None else prefix) for row in rows.iter_rows(named=True)]
            label_studio.write_tasks(tasks, index.read(paths.CORE)["label"], fresh)
    return len(rows)


def task(row: dict[str, Any], prefix: str) -> dict[str, Any]:
    """A sample as a task of Label Studio, with what the model would say as its prediction."""
    here = prefix + quote(Path(row["path"]).absolute().as_posix().removeprefix("/"))
    image = row["path"] if remote.url_of(row["path"]) else here
    about = {"image": image, "sample_id": row["sample_id"], "rank": row["rank"], "reason": row["reason"]}
    if row["suggested_label"] is None:
        return {"data": about}
    said = [label_studio.choice(row["suggested_label"])]
    prediction = {"model_version": "diva", "score": row["probability"], "result": said}
    return {"data": about, "predictions": [prediction]}


def placed(row: dict[str, Any], fresh: Path) -> PlacedImage:
    """A sample whose image was copied, with its size and what the model would say."""
    name = Path(row["path"]).name
    said = {key: row[key] for key in ("sample_id", "rank", "reason", "probability")}
    return PlacedImage(name, *image_size(fresh / "images" / name), said | {"label": row["suggested_label"]})


def _copied(rows: pl.DataFrame, fresh: Path, folder: Path) -> list[str]:
    """Copies of the images in ``fresh``; their paths once it is ``folder``."""
    (fresh / "images").mkdir()
    files = [f"images/{class_name(name)}{suffix(path)}" for name, path in rows.select("sample_id", "path").iter_rows()]
    for source, file, sample_id in zip(rows["path"], files, rows["sample_id"], strict=True):
        copy_image(Path(source), fresh / file, sample_id)
    return [(folder / file).as_posix() for file in files]
