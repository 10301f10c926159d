"""How features were made: a set mixes only features of one backbone, one weights file and one transform.

Checked before anything runs (parameters against those that the lock file remembers, the weights file against the core's
features) and after extraction (the attributes of all feature files).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diva.ingest import inspection, readers, sources
from diva.ingest.label_arrays import DELIVERED
from diva.ingest.ready import attributes as ready_attributes
from diva.ingest.ready import open_ready
from diva.store import digests, ledger, manifest, paths
from diva.store.features import FeatureFile, opened
from diva.store.ledger import Ledger
from diva.text.targets import class_counts, classes_of
from diva.vision import revision
from stages.params import section
from stages.params.download import Download
from stages.params.extract import Extract

ATTRIBUTES = ("backbone", "weights", "weights_sha256", "transform")
READY = ready_attributes()["backbone"]
REMEDY = (
    "Put it back as it was, or begin a new chain with features made anew: `python -m flows.nightly --rebase` "
    "(a new major version; the old ones stay)."
)
TAKE_BACK = "Take the batch back (`git checkout data/ledger.yaml`) and deliver features of the same making."


def require_same_parameters(lock: Mapping[str, Any]) -> None:
    """Refuse parameters that would make other features than those there are.

    Args:
        lock: stages of dvc.lock.

    Raises:
        ValueError: with every difference named.
    """
    stored = lock.get("extract@core", {}).get("params", {}).get(str(paths.PARAMS), {}).get("extract")
    if stored is None:
        return
    now = section.read("extract", Extract)
    recorded = {name: value for name, value in stored.items() if name in Extract.model_fields}
    differences = [
        f"{name} is {getattr(now, name)}, was {recorded[name]}"
        for name in (*revision.NETWORK, *revision.TRANSFORM)
        if name in recorded and _text(getattr(now, name)) != _text(recorded[name])
    ]
    if differences:
        raise ValueError(
            f"{paths.PARAMS}:extract must be that of the features there are: {'; '.join(differences)}. {REMEDY}"
        )


def _text(value: Any) -> Any:
    """A value as the lock file's text: BaseLoader reads no types."""
    if value in (None, "", "null"):
        return None
    return [float(entry) for entry in value] if isinstance(value, list) else str(value)


def require_same_weights() -> None:
    """Refuse a weights file whose content is not that of the file which made the core's features."""
    weights, core = Path(section.read("extract", Extract).weights), paths.features("core")
    if not weights.is_file() or not core.is_file():
        return
    stored, now = FeatureFile(core).attributes.get("weights_sha256"), digests.sha256(weights)
    if stored and stored != now:
        expected = f"the file that made the core's features, sha256 {stored}"
        raise ValueError(f"{weights} must be {expected}, got {now}. {REMEDY}")


def require_same_revision() -> None:
    """Refuse code that would make other features of the same images than the core's."""
    core = made(paths.features("core"))
    if core and core["backbone"] != READY and core["revision"] != revision.FEATURES:
        now, stored = revision.FEATURES, core["revision"]
        raise ValueError(f"features must be of the core's revision {stored}, got code of revision {now}. {REMEDY}")


def require_same_features(book: Ledger) -> None:
    """Refuse feature files that were made in different ways.

    Raises:
        ValueError: with the batch and every difference from the core named.
    """
    core = made(paths.features("core"))
    for name in ledger.order(book):
        batch = made(paths.features(name))
        if core is None or batch is None:
            continue
        other = [f"{key} is {batch[key]!r}, the core's {core[key]!r}" for key in core if batch[key] != core[key]]
        if other:
            raise ValueError(f"Features of {name} must be made as the core's were: {'; '.join(other)}. {TAKE_BACK}")


def require_same_source(book: Ledger, source: str, to: str = "pool", options: Mapping[str, Any] | None = None) -> None:
    """Refuse ready features (HDF5) that say they were made in another way than the core's say of themselves."""
    core, new = attributes(Path(book.batches["core"].source)), attributes(Path(source))
    other = [f"{key} is {new[key]!r}, the core's {core[key]!r}" for key in new if core.get(key, new[key]) != new[key]]
    if other:
        raise ValueError(f"{source} must be made as the core's features were: {'; '.join(other)}; make it anew.")
    content = sources.open_source(source, options or {}, unlabelled=sources.waits(to))
    require_same_kind(made(paths.features("core")), source, content)
    require_shared_classes(source, content)


def require_shared_classes(source: str, content: readers.Source) -> None:
    """Refuse a delivery of which nothing has a class of the core, where it would be set aside as a whole."""
    if not paths.manifest("core").is_file():
        return
    download = section.read("download", Download)
    if download.new_classes == "accept" or download.task == "regression":
        return
    core = manifest.read(paths.manifest("core"))["label"].unique()
    inspection.require_shared_classes(
        "a delivery",
        source,
        class_counts(inspection.labels_of(content), download.task, download.separator),
        classes_of(download.task, core),
    )


def require_same_kind(core: Mapping[str, Any] | None, source: str, content: readers.Source) -> None:
    """Refuse ready features beside images, ones that cannot be read, or ones of another width than the core's.

    A batch once accepted is history: what is refused only after extraction would stop every night to come.
    """
    if isinstance(content, readers.ArchiveSource):
        content.check()
    ready = isinstance(content, readers.FeatureSource)
    width = open_ready(Path(source), unlabelled=True).features.shape[1] if ready else None
    if core is None:
        return
    if ready != (core["backbone"] == READY):
        expected = "images, as the core's are" if ready else "ready features, as the core's are"
        raise ValueError(f"a delivery must be {expected}, got {source}")
    if ready and width != core["width"]:
        raise ValueError(f"ready features must have the core's {core['width']} columns, got {width} in {source}")


def attributes(path: Path) -> dict[str, str]:
    """What an HDF5 file says of the making of its features; nothing where it is none."""
    if path.suffix.lower() not in (".h5", ".hdf5") or not path.is_file():
        return {}
    with opened(path, DELIVERED) as file:
        return {key: str(file.attrs[key]) for key in ATTRIBUTES if key in file.attrs}


def made(path: Path) -> dict[str, Any] | None:
    """How a file of features was made, its width included; None where there is none, or it has no rows."""
    if not path.is_file():
        return None
    stored = FeatureFile(path)
    if not stored.shape[0]:
        return None
    making = {key: stored.attributes.get(key) for key in ATTRIBUTES}
    return making | {"revision": stored.attributes.get("revision", 1), "width": stored.shape[1]}
