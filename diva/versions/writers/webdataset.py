"""A release as WebDataset: shards of images, beside each its label, weight and all else as JSON.

``webdataset.WebDataset(".../train-{00000..00003}.tar")`` reads it, and so does `diva.ingest.formats.webdataset`.
"""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from diva.versions.writers.pictures import ExportedImage, about, pieces


def write(pictures: Iterable[ExportedImage], folder: Path) -> None:
    """train-00000.tar and so on."""
    position = 0
    for number, piece in enumerate(pieces(pictures)):
        with tarfile.open(folder / f"train-{number:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as file:
            for name, content, row in piece:
                text = json.dumps(about(row), ensure_ascii=False).encode()
                for ending, part in ((Path(name).suffix or ".png", content), (".json", text)):
                    member = tarfile.TarInfo(f"{position:09d}{ending}")
                    member.size = len(part)
                    file.addfile(member, io.BytesIO(part))
                position += 1
