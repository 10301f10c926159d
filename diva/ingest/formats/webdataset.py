"""WebDataset: shards ``.tar`` whose members of one name and several endings are a sample.

    000123.jpg  000123.cls (or .json with label, .txt: a caption)

Names may have dots: IMG_1.2.jpg belongs to IMG_1.2.cls. An image beside a sample, 000123.mask.png, is set aside.

Images are read where they lie in the shard. A source is a folder of shards, one shard, or ``name-{000..099}.tar``. The
label is that of .cls, else of the .json, else the folder of the name; ``classes.txt`` beside the shards names classes
by number. Members that are no images and no such text (pickles, say) are never opened.
"""

import glob
import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diva.ingest import archives
from diva.ingest.folders import images_below
from diva.ingest.formats.listing import LABELS, FormatOptions, Listing, braces, frame_of, plain
from diva.ingest.images import MAX_PIXELS, Fault, Listed
from diva.store import manifest, parts, remote
from diva.store.columns import further
from diva.text.labels import normalized, plain_text
from diva.vision.formats import SUFFIXES, UNREAD

NAME = "webdataset"
LONGEST = 1 << 20  # bytes of a text
TEXTS = (".cls", ".json", ".txt")
IMAGES = {*SUFFIXES, *UNREAD}
PROBES = 64  # members of a shard that are looked at
BESIDE = Fault("image beside a sample's: it has no text of its own", "Name a text as it is named, or nothing to do.")


def recognises(source: str) -> bool:
    """Whether a source is a pattern of shards, or holds shards and no images of its own."""
    shards = _shards(source)
    return bool(shards) and shards[0].is_file() and not any(images_below(Path(source))) and _looks_so(shards[0])


def _shards(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix.lower() == ".tar")
    if path.is_file() or not ("{" in source or "*" in source):
        return [path] if path.suffix.lower() == ".tar" else []
    names = braces(source) if "{" in source else sorted(glob.glob(source))  # noqa: PTH207 - of absolute patterns, too
    return [Path(name) for name in names if name.lower().endswith(".tar")]


def _looks_so(shard: Path) -> bool:
    """Whether the first members are images with their texts beside them."""
    try:
        with remote.stream(shard) as stream, tarfile.open(None, "r:", stream, tarinfo=archives.BoundedHeader) as file:
            names = [member.name for _, member in zip(range(PROBES), iter(file.next, None), strict=False)]
    except (tarfile.TarError, OSError, ValueError):
        return False
    keys = {_split(name)[0] for name in names if _split(name)[1] in IMAGES}
    return bool(keys & {_split(name)[0] for name in names if _split(name)[1] in TEXTS})


def _split(name: str) -> tuple[str, str]:
    """Key and ending: what stands before and after the last dot of a file's name."""
    folder, slash, file = name.rpartition("/")
    stem, dot, ending = file.rpartition(".")
    return f"{folder}{slash}{stem}", f"{dot}{ending}".lower()


def _start(name: str) -> str:
    """What stands before the first dot of a file's name: members that belong together share it."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


class WebDataset:
    """Shards, in their order.

    Args:
        source: a folder, a shard, or a pattern.
        options: ``columns``: what the .json calls the label.
    """

    title = "WebDataset shards"

    def __init__(self, source: str, options: FormatOptions) -> None:
        self.shards, self.label = _shards(source), options.columns.get("label")
        missing = [shard for shard in self.shards if not shard.is_file()]
        if missing or not self.shards:
            raise ValueError(f"source must name shards that are there, got {source}, without {missing[:1] or 'any'}.")
        names = self.shards[0].parent / "classes.txt"
        self.classes = names.read_text(encoding="utf-8").splitlines() if names.is_file() else []

    def files(self) -> list[Path]:
        """The shards, and the names of classes."""
        names = self.shards[0].parent / "classes.txt"
        return [*self.shards, *([names] if names.is_file() else [])]

    def listing(self, folder: Path | None, max_pixels: int = MAX_PIXELS) -> Listing:  # noqa: ARG002 - images stay in their shards
        """A sample each key with an image."""
        samples = [sample for shard in self.shards for sample in self._of_shard(shard)]
        return Listing([listed for listed, _ in samples], further(frame_of([record for _, record in samples])))

    def _of_shard(self, shard: Path) -> Iterator[tuple[Listed, dict[str, Any]]]:
        """The samples of a shard; of a damaged one those that are whole, and a fault."""
        images: list[tarfile.TarInfo] = []
        texts: dict[str, dict[str, bytes]] = defaultdict(dict)
        start, amount = "", 0
        try:
            for info, content in archives.plain_tar(shard):
                if _start(info.name) != start:
                    for row in self._samples(shard, start, images, texts):
                        amount += row[0].fault is None
                        yield row
                    start, images, texts = _start(info.name), [], defaultdict(dict)
                key, ending = _split(info.name)
                if ending in IMAGES:
                    images.append(info)
                elif ending in TEXTS and content is not None and info.size <= LONGEST:
                    texts[key][ending] = content.read()
        except (tarfile.TarError, OSError, ValueError, EOFError) as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            fault = Fault(f"damaged shard: {said}; its first {amount} samples are used", "Copy the shard again.")
            yield Listed(shard, shard.name, None, fault), {}
        else:
            yield from self._samples(shard, start, images, texts)

    def _samples(
        self, shard: Path, start: str, images: list[tarfile.TarInfo], texts: dict[str, dict[str, bytes]]
    ) -> Iterator[tuple[Listed, dict[str, Any]]]:
        """The images whose names start alike, each with the texts of its key."""
        keys = {_split(info.name)[0] for info in images}
        for info in images:
            key = _split(info.name)[0]
            path = parts.path_of(shard, info.offset_data, info.size, info.name)
            name = f"{shard.name}/{info.name}"
            if not info.isreg():
                yield Listed(path, name, None, Fault("no file in a shard: a link or a device", "Pack the image.")), {}
                continue
            if key not in texts and key != start and (start in keys or start in texts):
                yield Listed(path, name, None, BESIDE), {}
                continue
            record = _record(texts.get(key, {}))
            label, group = self._label(key, texts.get(key, {}), record), record.get("group")
            used = (*LABELS[:1], *manifest.GROUPS)
            rest = {column: value for column, value in record.items() if column not in used}
            yield Listed(path, name, label, group=plain_text(group)), rest

    def _label(self, key: str, texts: dict[str, bytes], record: dict[str, Any]) -> str | None:
        """That of .cls, of the .json, or the folder of the name."""
        given: Any = texts[".cls"].decode("utf-8", "replace").strip() if ".cls" in texts else None
        if given is None:
            name = self.label or next((name for name in LABELS if name in record), "")
            given = record.get(name, key.rpartition("/")[0].rpartition("/")[2] or None)
        code = normalized(given)
        numbered = code is not None and code.isdecimal() and int(code) < len(self.classes)
        return normalized(self.classes[int(code)]) if code is not None and numbered else code


def _record(texts: dict[str, bytes]) -> dict[str, Any]:
    """What .json and .txt of a sample say."""
    try:
        content = json.loads(texts.get(".json", b"{}"))
    except ValueError:
        content = {}
    record = plain(content) if isinstance(content, dict) else {}
    if ".txt" in texts:
        record["text"] = texts[".txt"].decode("utf-8", "replace").strip()
    return record
