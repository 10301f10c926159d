"""A release with its description in Croissant 1.0: croissant.json, train.csv, and the images in ``images``.

``mlcroissant.Dataset("croissant.json").records("samples")`` gives images and labels. train.csv is a list that
`diva.ingest.listings` reads. https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from diva.store import digests
from diva.store.columns import without_durations
from diva.versions.writers.card import LICENCES
from diva.versions.writers.pictures import PlacedImage, write_json

OWN = (
    "citeAs", "column", "extract", "field", "fileProperty", "fileObject", "fileSet", "format", "includes",
    "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
    "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/", "conformsTo": "dct:conformsTo", "equivalentProperty": "cr:equivalentProperty",
    "data": {"@id": "cr:data", "@type": "@json"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, **{name: f"cr:{name}" for name in OWN},
}  # fmt: skip
TYPES = ((pl.Boolean, "sc:Boolean"), (pl.Date, "sc:Date"), (pl.Datetime, "sc:DateTime"), (pl.String, "sc:Text"))
TABLE = "train.csv"


def write(pictures: Sequence[PlacedImage], folder: Path, train: pl.DataFrame, version: str, facts: str) -> None:
    """The description and the table; images lie in ``images``.

    Args:
        pictures: the samples of the release.
        folder: to fill.
        train: the release.
        version: its name.
        facts: where it comes from, in words.
    """
    files = pl.Series("path", [f"images/{picture.name}" for picture in pictures], pl.String)
    table = without_durations(train.with_columns(files, file=pl.Series([picture.name for picture in pictures])))
    table.write_csv(folder / TABLE)
    kinds = sorted({mimetypes.guess_type(picture.name)[0] or "image/png" for picture in pictures})
    fields = [_image(), *(_field(name, dtype) for name, dtype in table.schema.items())]
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": version,
        "version": version.rpartition("@v")[2],
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "description": f"A training set curated by the dataset derivative. {facts}",
        **_licence(train),
        "distribution": [
            {"@type": "cr:FileObject", **_named(TABLE), "contentUrl": TABLE, "encodingFormat": "text/csv",
             "sha256": digests.sha256(folder / TABLE)},
            {"@type": "cr:FileSet", **_named("images"), "includes": "images/*", "encodingFormat": kinds},
        ],
        "recordSet": [
            {"@type": "cr:RecordSet", **_named("samples"), "key": {"@id": "samples/sample_id"}, "field": fields}
        ],
    }  # fmt: skip
    write_json(folder / "croissant.json", content)


def _named(name: str, owner: str = "") -> dict[str, str]:
    return {"@id": f"{owner}{name}", "name": name}


def _licence(train: pl.DataFrame) -> dict[str, list[str]]:
    """The licences that the samples have, where a delivery says so."""
    column = next((train[name].cast(pl.String) for name in train.columns if name.lower() in LICENCES), None)
    return {} if column is None else {"license": column.drop_nulls().unique(maintain_order=True).to_list()}


def _image() -> dict[str, Any]:
    source = {"fileSet": {"@id": "images"}, "extract": {"fileProperty": "content"}}
    return {"@type": "cr:Field", **_named("content", "samples/"), "dataType": "sc:ImageObject", "source": source}


def _field(name: str, dtype: pl.DataType) -> dict[str, Any]:
    """A column of the table; ``file`` leads to the image."""
    number = "sc:Integer" if dtype.is_integer() else "sc:Float"
    kind = next((kind for base, kind in TYPES if dtype.base_type() == base), number)
    source = {"fileObject": {"@id": TABLE}, "extract": {"column": name}}
    field = {"@type": "cr:Field", **_named(name, "samples/"), "dataType": kind, "source": source}
    if name == "file":
        field["references"] = {"fileSet": {"@id": "images"}, "extract": {"fileProperty": "filename"}}
    return field
