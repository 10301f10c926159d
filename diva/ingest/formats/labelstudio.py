"""Label Studio: its JSON export beside the images; a choice is the label of an image, a rectangle a box in it.

What else a task says of its image stays as columns. Images are looked for by the end of their address (local files,
uploads, buckets) beside the JSON file and in ``images`` there.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from diva.ingest import annotations
from diva.ingest.annotations import Task, TaskResult
from diva.ingest.formats.boxes import TURNED, AnnotatedImage, Box, Boxes, described, located
from diva.ingest.formats.listing import FormatOptions, plain
from diva.ingest.images import Fault
from diva.store import manifest
from diva.text.labels import normalized
from diva.vision.formats import SUFFIXES, UNREAD

NAME = "labelstudio"
UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio writes before the name of an upload
MOST = 1 << 30  # bytes of an export
NO_IMAGE = Fault("no image: the task names none", "Put its address into the task's data, as image.")


def recognises(source: str) -> bool:
    """Whether a source is such an export, or a folder that holds one."""
    described_here = described(source, ".json", _looks_so) is not None
    return described_here and LabelStudio(source, FormatOptions(format=NAME, max_bytes=None)).is_whole()


def _looks_so(file: Path) -> bool:
    try:
        content = json.loads(file.read_bytes()) if file.stat().st_size <= MOST else None
    except (ValueError, OSError, RecursionError):
        return False
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and {"data", "annotations"} <= first.keys()


class LabelStudio(Boxes):
    """What people said of images in Label Studio.

    Args:
        source: the JSON export, or the folder that holds it.
        options: ``columns``: what a task calls its image (path); ``max_bytes``: what the cuts may take up.
    """

    names_all = True
    title = "an export of Label Studio"

    def __init__(self, source: str, options: FormatOptions) -> None:
        super().__init__(source, options, described(source, ".json", _looks_so))
        self.tasks = annotations.tasks(self.file)

    def drawn(self) -> Iterator[AnnotatedImage]:
        """The image of each task, and what those who did not cancel it said."""
        here = self.file.parent
        for task in self.tasks:
            key = self._key(task)
            name = _named(str(task.data.get(key) or ""))
            short = UPLOADED.sub("", Path(name).name)
            paths = [located(other, here, here / "images") for other in (name, Path(name).name, short) if other]
            path = next((path for path in paths if path and path.is_file()), paths[0] if paths else self.file)
            used = (key, *manifest.GROUPS)
            rest = {column: value for column, value in plain(task.data).items() if column not in used}
            answers = [answer for said in task.annotations if not said.was_cancelled for answer in said.result]
            boxes = [box for number, answer in enumerate(answers) for box in _boxes(number, answer)]
            group = next((str(task.data[column]) for column in manifest.GROUPS if task.data.get(column)), None)
            boxes = [box._replace(rest=rest) for box in boxes or [Box("", None)]]
            yield AnnotatedImage(name, path, boxes, None if name else NO_IMAGE, group)

    def _key(self, task: Task) -> str:
        """What the task calls its image."""
        asked = self.options.columns.get("path", "image")
        ends = (*SUFFIXES, *UNREAD)
        named = (key for key, value in task.data.items() if isinstance(value, str) and value.lower().endswith(ends))
        return asked if asked in task.data else next(named, asked)


def _named(address: str) -> str:
    """The file that an address means: of a local file below its root, of others without the host."""
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d", [""])[0]
    return (local or unquote(parts.path if parts.scheme or parts.query else address)).lstrip("/")


def _boxes(number: int, answer: TaskResult) -> Iterator[Box]:
    value = answer.value
    if value.choices:
        yield Box("", normalized(" and ".join(value.choices)))
    sides = tuple(side / 100 for side in (value.x, value.y, value.width, value.height))
    for label in value.rectanglelabels[:1]:
        yield Box(str(number), normalized(label), sides, relative=True, fault=TURNED if value.rotation else None)
