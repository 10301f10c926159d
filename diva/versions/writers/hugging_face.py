"""A release as a Hugging Face data set: parquet files with the images' bytes, whose schema names the classes.

``datasets.load_dataset(folder)`` reads it, and so does `diva.ingest.formats.huggingface`.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from diva.store.columns import free_name, without_durations
from diva.versions.writers.pictures import ExportedImage, pieces

TYPES = {pl.Boolean: "bool", pl.Float64: "float64", pl.Float32: "float32", pl.Date: "date32", pl.String: "string"}
TYPES |= {pl.Int8: "int8", pl.Int16: "int16", pl.Int32: "int32", pl.Int64: "int64"}
TYPES |= {pl.UInt8: "uint8", pl.UInt16: "uint16", pl.UInt32: "uint32", pl.UInt64: "uint64"}
IMAGE = pl.Struct({"bytes": pl.Binary, "path": pl.String})


def write(train: pl.DataFrame, pictures: Iterable[ExportedImage], folder: Path) -> None:
    """data/train-00000.parquet and so on: image, label (a class), and what the release says beside."""
    classes = sorted(set(train["label"]))
    codes = {name: code for code, name in enumerate(classes)}
    rest = _beside(train)
    schema: dict[str, Any] = {"image": IMAGE, "label": pl.Int64, **{rest[name]: train.schema[name] for name in rest}}
    about = json.dumps({"info": {"features": features(train, classes)}}, ensure_ascii=False)
    (folder / "data").mkdir()
    for number, piece in enumerate(pieces(pictures)):
        rows: list[dict[str, Any]] = [
            {stored: row[name] for name, stored in rest.items()}
            | {"image": {"bytes": content, "path": name}, "label": codes[row["label"]]}
            for name, content, row in piece
        ]
        frame = pl.DataFrame(rows, schema=schema)
        others = [stored for name, stored in rest.items() if train.schema[name] not in TYPES]
        frame = without_durations(frame).with_columns(pl.col(others).cast(pl.String))
        path = folder / "data" / f"train-{number:05d}.parquet"
        frame.write_parquet(path, compression="zstd", row_group_size=512, metadata={"huggingface": about})


def front(train: pl.DataFrame) -> dict[str, Any]:
    """What the library reads of the data card: where the files lie, and what their columns are."""
    columns: list[dict[str, Any]] = []
    for name, feature in features(train, sorted(set(train["label"]))).items():
        named = {"class_label": {"names": {str(code): label for code, label in enumerate(feature.get("names", []))}}}
        kinds = {"Image": "image", "ClassLabel": named}
        columns.append({"name": name, "dtype": kinds.get(feature["_type"], feature.get("dtype"))})
    files = [{"split": "train", "path": "data/train-*.parquet"}]
    return {"configs": [{"config_name": "default", "data_files": files}], "dataset_info": {"features": columns}}


def _beside(train: pl.DataFrame) -> dict[str, str]:
    """The columns beside path and label, and what they are called where the images have a column, too."""
    rest = [name for name in train.columns if name not in ("path", "label")]
    return {name: free_name(name, rest) if name == "image" else name for name in rest}


def features(train: pl.DataFrame, classes: list[str]) -> dict[str, Any]:
    """The columns as the library describes them."""
    values = {
        stored: {"dtype": TYPES.get(train.schema[name].base_type(), "string"), "_type": "Value"}
        for name, stored in _beside(train).items()
    }
    return {"image": {"_type": "Image"}, "label": {"names": classes, "_type": "ClassLabel"}, **values}
