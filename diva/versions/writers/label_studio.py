"""A release, or samples to label, as tasks of Label Studio: tasks.json to import, and config.xml, the interface.

Of a release, the label is the annotation of each task, and what else is said of a sample stands in its data. The
folder is served as the root of local files (``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT``).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr  # nosec B406

from diva.store import manifest
from diva.store.columns import free_name
from diva.versions.writers.pictures import PlacedImage, about, labels_of, write_json

LOCAL = (
    "/data/local-files/?d="  # by which Label Studio serves files of its own machine, from the root that it was given
)


def write(pictures: Sequence[PlacedImage], folder: Path) -> None:
    """The tasks and the interface; images lie in ``images``."""
    tasks = []
    for name, _, _, row in pictures:
        rest = {free_name(key, ("image",)): value for key, value in about(row).items() if key != "label"}
        data = {"image": f"{LOCAL}{quote(f'images/{name}')}", **rest}
        tasks.append({"data": data, "annotations": [{"result": [choice(row["label"])]}]})
    write_tasks(tasks, (picture.row["label"] for picture in pictures), folder)


def write_tasks(tasks: list[dict[str, Any]], classes: Iterable[str], folder: Path) -> None:
    """Tasks, and the interface of these classes."""
    classes = {label for text in classes for label in labels_of(text)}
    write_json(folder / "tasks.json", tasks)
    (folder / "config.xml").write_text(interface(sorted(classes)), encoding="utf-8")


def choice(label: str) -> dict[str, Any]:
    """What a person or the model says of an image."""
    names = {"id": "label", "type": "choices", "from_name": "label", "to_name": "image"}
    if manifest.task() == "regression":
        return {**names, "type": "number", "value": {"number": float(label)}}
    return {**names, "value": {"choices": labels_of(label)}}


def interface(classes: list[str]) -> str:
    """Label Studio's labelling interface of these classes."""
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in classes)
    kind = "multiple" if manifest.task() == "multilabel" else "single"
    asked = (
        f'  <Choices name="label" toName="image" choice="{kind}" showInLine="true">\n{choices}\n  </Choices>\n'
        if manifest.task() != "regression"
        else '  <Number name="label" toName="image"/>\n'
    )
    return f'<View>\n  <Image name="image" value="$image"/>\n{asked}</View>\n'
