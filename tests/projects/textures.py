"""The pictures of the embedded example, in folders."""

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from diva.ingest.textures import MATERIALS, draw


def images(folder: Path, numbers: Iterable[int]) -> Path:
    """A folder material/number.png of these pictures; the embedded example draws those below 1,400 itself."""
    for number in numbers:
        material = list(MATERIALS)[number % len(MATERIALS)]
        path = folder / material / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(material, number)).save(path)
    return folder
