"""A project for one's own data: what its sources hold, the ledger that names them, the parameters that suit them.

Nothing here writes: ``ledger_of`` returns a ledger, ``edited`` the text of params.yaml with its comments kept.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from diva.ingest import embedded, sources
from diva.ingest.ready import open_ready
from diva.ingest.sources import Source
from diva.store import ledger, paths

CROP = 224
IMAGENET = {"resize": 256, "crop": CROP, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
FRESH = ("digits", "none")  # sources of the ledger that is shipped


@dataclass(frozen=True)
class SourceContents:
    """What a source holds, before anything is decoded.

    Attributes:
        name: as given.
        options: of the source.
        source: opened.
        kind: "images", "features" or "none".
        samples: usable ones; None where only ``download`` will tell.
        classes: among them.
        unusable: files without label, out of place, or otherwise refused already.
        files: paths of the images, where they lie on this disk.
        width: p of ready features.
    """

    name: str
    options: Mapping[str, Any]
    source: Source
    kind: str
    samples: int | None = 0
    classes: int | None = 0
    unusable: int = 0
    files: tuple[str, ...] = ()
    width: int | None = None


def inspect_source(name: str, options: Mapping[str, Any], option: str) -> SourceContents:
    """What a source holds; ValueError that names the command's ``option`` where it holds nothing usable."""
    try:
        contents = _inspect_source(name, options, sources.open_source(name, options))
    except (ValueError, OSError) as error:
        raise ValueError(f"{option}: {error}") from None
    if contents.kind != "none" and contents.samples == 0:
        raise ValueError(
            f"{option}: {name} must hold labelled samples, got none ({contents.unusable} files set aside)."
        )
    return contents


def _inspect_source(name: str, options: Mapping[str, Any], source: Source) -> SourceContents:
    if isinstance(source, sources.ImageSource):
        usable = [listed for listed in source.listed if listed.label and not listed.fault]
        files = tuple(listed.path.as_posix() for listed in usable)
        counts = (len(usable), len({listed.label for listed in usable}), len(source.listed) - len(usable))
        return SourceContents(name, options, source, "images", *counts, files)
    if isinstance(source, sources.FeatureSource):
        ready = open_ready(source.path)
        labels = [str(label) for label in ready.labels if label]
        counts = (len(labels), len(set(labels)), len(ready.labels) - len(labels))
        return SourceContents(name, options, source, "features", *counts, width=int(ready.features.shape[1]))
    if isinstance(source, embedded.Digits):
        return SourceContents(name, options, source, "images", source.options.size, embedded.CLASSES)
    if isinstance(source, sources.EmptySource):
        return SourceContents(name, options, source, "none")
    if not isinstance(source, sources.ArchiveSource | sources.DataSetSource):
        _known_data_set(name)
    return SourceContents(name, options, source, "images", None, None)


def _known_data_set(name: str) -> None:
    import torchvision.datasets  # seconds; only for a data set of torchvision

    wanted = name.removeprefix("torchvision:")
    if wanted not in torchvision.datasets.__all__:
        raise ValueError(f"{name} must name a data set of torchvision, such as torchvision:CIFAR10.")


def options_of(name: str, batch: str) -> dict[str, Any]:
    """Options that a source takes when it becomes this batch: a data set by name has a test part of its own."""
    named = name.startswith(("dataset:", "torchvision:"))
    return {"split": "test" if batch == "test" else "train"} if named else {}


def gather(core: str, pool: Sequence[str], test: str) -> dict[str, SourceContents]:
    """What the sources of core, test and pool hold, by batch; ValueError where they cannot make one project."""
    names = {"core": core, "test": test, **{f"b{number:03d}": name for number, name in enumerate(pool, 1)}}
    contents = {batch: inspect_source(name, options_of(name, batch), _option(batch)) for batch, name in names.items()}
    start = contents["core"]
    if start.kind == "none":
        raise ValueError("--core: the core must hold labelled samples, got none.")
    if start.classes is not None and start.classes < 2:
        raise ValueError(f"--core: {core} must hold at least two classes, got one.")
    for batch, other in contents.items():
        _check(other, start, _option(batch))
    return contents


def _option(batch: str) -> str:
    return {"core": "--core", "test": "--test"}.get(batch, "--pool")


def _check(contents: SourceContents, core: SourceContents, option: str) -> None:
    if contents.kind not in (core.kind, "none"):
        raise ValueError(f"{option}: {contents.name} must hold {core.kind}, as the core does, got {contents.kind}.")
    if contents.kind == "features" and contents.width != core.width:
        raise ValueError(
            f"{option}: {contents.name} must have {core.width} features, as the core, got {contents.width}."
        )


def ledger_of(
    contents: Mapping[str, SourceContents], rounds: int, settings: Mapping[str, Mapping[str, Any]]
) -> ledger.Ledger:
    """A fresh ledger; checksums are taken here.

    Args:
        contents: core, test, b001, b002, … in this order.
        rounds: planned rounds: round i draws from the pool after its i-th batch, later ones from the newest; without a
            pool there are none.
        settings: of every round: {"extend": {…}, "curate": {…}}.
    """
    core = contents["core"]
    book = ledger.start(ledger.Batch(source=core.name, checksum=core.source.checksum(), options=dict(core.options)))
    for batch, other in list(contents.items())[1:]:
        checksum = other.source.checksum()
        same = ledger.delivered(book, checksum)
        if same:
            raise ValueError(
                f"{_option(batch)}: {other.name} must be a delivery of its own, got the content of {same}."
            )
        book = ledger.accept(book, batch, other.name, other.options, checksum)
    links = ledger.chain(book.pool, "pool")
    for turn in range(rounds if links else 0):
        book = ledger.plan_round(book, settings, pool=links[min(turn, len(links) - 1)])
    return book


def replaceable(old: ledger.Ledger, names: Sequence[str]) -> bool:
    """Whether a ledger holds no data but the shipped default and the sources of these ``names``."""
    return all(batch.source in (*FRESH, *names) for batch in old.batches.values())


def settings_of(backbone: str, weights: str, checksum: str | None) -> dict[str, Any]:
    """Section ``extract`` for photographs: the network, and the transform that ImageNet's networks expect."""
    return {"backbone": backbone, "weights": weights, "weights_sha256": checksum, **IMAGENET}


class _Representer(RoundTripRepresenter):
    """Writes null where there is nothing, not an empty value."""


_Representer.add_representer(
    type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
)


def edited(text: str, section: str, changes: Mapping[str, Any]) -> str:
    """The text of params.yaml with some keys of a section changed; everything else, comments too, stays as it is."""
    yaml: Any = YAML()
    yaml.Representer, yaml.width, yaml.preserve_quotes = _Representer, 4096, True
    try:
        content = yaml.load(text)
        content[section].update({key: _plain(value) for key, value in changes.items()})
    except (YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{paths.PARAMS} must be YAML with a section '{section}': {error}") from None
    stream = io.StringIO()
    yaml.dump(content, stream)
    return stream.getvalue()


def _plain(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    items = CommentedSeq(value)
    items.fa.set_flow_style()  # [0.485, 0.456, 0.406] on one line
    return items
