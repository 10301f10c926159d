"""Files of object stores by URL, by fsspec: a tree of their names on this disk, and the content of those read lately.

    s3://bucket/photos/cat/1.jpg    .dvc/tmp/diva/remote/s3/bucket/photos/cat/1.jpg

A file that was not read yet, or not lately, is empty there, as long as the real one, and dated 1970. ``local`` fetches
it. What is fetched stays within a limit, ``DIVA_CACHE_BYTES``: images and archives read longest ago become empty again;
texts and tables, which describe a delivery, stay. In manifests such files stand by their URL. A store that says neither
when a file was written nor what its content is (some HTTP servers) does not tell when one is replaced by another of the
same size.
"""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from diva.text.redaction import holds_secret, redacted
from diva.text.words import installing

logger = logging.getLogger(__name__)
CACHE = Path(".dvc/tmp/diva/remote")  # git-ignored, this machine's
LIMIT = 20_000_000_000  # bytes, unless asked otherwise or the disk has less room
TEXTS = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow", ".xml", ".yaml", ".yml", ".txt", ".names")
FILES = (*TEXTS, ".tar", ".zip", ".tgz", ".gz", ".bz2", ".xz")  # over HTTP, a name tells a file from a folder
URL = re.compile(r"([a-z][a-z0-9+]+):/{1,3}(?=[^/])(.+)")  # also as pathlib writes it, with one slash
VERSIONED = ("size", "etag", "last-modified", "lastmodified", "mtime", "created", "md5hash", "content-md5", "digest")
PAUSES = (0.0, 1.0, 5.0)  # seconds before each further attempt
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az", "adl": "az"}
WORKERS = 16


class FetchError(ValueError):
    """A file elsewhere could not be fetched: no fault of the file."""


_lock = threading.RLock()
_fetching = [threading.Lock() for _ in range(64)]  # by file, so that two threads do not fetch the same
_sizes: dict[Path, int] = {}  # bytes fetched, by cache


def url_of(path: str | Path) -> str | None:
    """The URL that a path means, one of the tree or a URL itself; None for a path of this disk."""
    text = Path(path).as_posix()
    start = f"{CACHE.as_posix()}/"
    if start in text:
        scheme, _, rest = text.partition(start)[2].partition("/")
        return _url(scheme, rest)
    match = URL.fullmatch(text)
    return _url(match[1], match[2]) if match else None


def _url(scheme: str, rest: str) -> str:
    rest = quote(unquote(rest), safe="/:@!$&'()*+,;=~") if scheme in ("http", "https") else rest
    return f"{scheme}://{'/' if scheme == 'file' else ''}{rest}"


def is_remote(source: str) -> bool:
    """Whether a source lies elsewhere, but for archives by URL and checksum."""
    return URL.fullmatch(source) is not None and "#sha256=" not in source


def in_tree(path: str | Path) -> Path:
    """Where a file lies in the tree; a path of this disk as it is."""
    url = url_of(path)
    match = URL.fullmatch(url) if url else None
    if match is None:
        return Path(path)
    rest = unquote(match[2]) if match[1] in ("http", "https") else match[2]
    steps = PurePosixPath(rest).parts
    if ".." in steps or "?" in rest or "\0" in rest:
        raise ValueError(f"names in {match[1]}:// must stay within their folder, got {redacted(rest)}; rename it.")
    return CACHE.joinpath(match[1], *steps)


def local(path: str | Path) -> Path:
    """A file with its content on this disk, fetched where it is not here; a path of this disk as it is.

    Raises:
        FileNotFoundError: the store has no such file.
        FetchError: the network failed at every attempt.
        ValueError: its driver is not installed.
    """
    url = url_of(path)
    if url is None:
        return Path(path)
    target = in_tree(url)
    with _fetching[hash(target) % len(_fetching)]:
        if not _is_here(target):
            _fetch(url, target)
    return target


def stream(path: str | Path) -> BufferedReader:
    """The content of a file, of this disk or elsewhere, which stays while it is read; errors as of ``local``."""
    while True:
        file = local(path).open("rb")
        if url_of(path) is None:
            return file
        if os.fstat(file.fileno()).st_mtime_ns:
            os.utime(file.fileno())  # read now; of this file, whatever has its name meanwhile
            return file
        file.close()  # made empty meanwhile


def _is_here(target: Path) -> bool:
    try:
        return target.stat().st_mtime_ns != 0
    except OSError:
        return False


def _fetch(url: str, target: Path) -> None:
    files, name = _opened(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        for pause in (*PAUSES, None):
            try:
                files.get_file(name, str(temporary))
                break
            except (FileNotFoundError, PermissionError):
                raise
            except Exception as error:  # drivers raise errors of their own
                if pause is None:
                    raise FetchError(f"{redacted(url)} could not be fetched: {redacted(str(error))}") from None
                logger.warning("%s could not be fetched; another attempt in %.0f s", redacted(url), pause)
                time.sleep(pause)
        size = temporary.stat().st_size
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _make_room(size, target)


def limit() -> int:
    """How many bytes stay: as asked, and never more than half of what the disk has room for beside."""
    asked = int(os.environ.get("DIVA_CACHE_BYTES") or LIMIT)
    return min(asked, _sizes.get(CACHE.absolute(), 0) + shutil.disk_usage(CACHE).free // 2)


def _make_room(size: int, spared: Path) -> None:
    """Count what was fetched; above the limit, what was read longest ago becomes empty."""
    with _lock:
        key = CACHE.absolute()
        if key not in _sizes:
            _sizes[key] = sum(seen.st_size for _, seen in _fetched()) - size
        _sizes[key] += size
        most = limit()
        if _sizes[key] <= most:
            return
        oldest = sorted(_fetched(), key=lambda entry: entry[1].st_mtime_ns)
        _sizes[key] = sum(seen.st_size for _, seen in oldest)
        for path, seen in oldest:
            if path != spared and path.suffix.lower() not in TEXTS and _sizes[key] > most * 0.8:
                _put_empty(path, seen.st_size)
                _sizes[key] -= seen.st_size


def _fetched() -> Iterator[tuple[Path, os.stat_result]]:
    for directory, _, names in os.walk(CACHE):
        for path in (Path(directory) / name for name in names if not name.startswith(".")):
            with contextlib.suppress(OSError):
                seen = path.stat()
                if seen.st_mtime_ns:
                    yield path, seen


def _put_empty(path: Path, size: int) -> None:
    """A file of this size without content; who reads the old one goes on reading it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.empty")
    with temporary.open("wb") as file:
        file.truncate(size)
    os.utime(temporary, ns=(0, 0))
    temporary.replace(path)


def mirrored(source: str, names: list[str]) -> str:
    """The names of what lies at a URL, in the tree, with the content of texts and tables; its path there.

    Of a text or a table, the folder that it lies in comes along, and texts in it.

    Args:
        source: the URL, or a pattern.
        names: the URLs that it stands for.

    Raises:
        ValueError: nothing lies there, a driver is missing, or texts and tables are larger than the limit.
    """
    if holds_secret(source):
        raise ValueError(
            f"source must carry no password, token or signature (the ledger is kept in git), got {redacted(source)}; "
            "give the login to fsspec, in ~/.config/fsspec/conf.json or its variables."
        )
    target = in_tree(source)
    is_text = source.lower().endswith(TEXTS)
    entries: dict[str, dict[str, Any]] = {}
    try:
        for url in names:
            files, name = _opened(url.rstrip("/"))
            entries |= _entries(files, name.rpartition("/")[0] if is_text else name, source)
    except ValueError:
        raise
    except Exception as error:  # drivers raise errors of their own
        raise ValueError(f"{redacted(source)} must be readable, got {redacted(str(error))}.") from None
    paths = {in_tree(_address(files, source, entry)): info for entry, info in entries.items()}
    if not paths or (is_text and target not in paths):
        raise ValueError(f"{redacted(source)} must hold files, got nothing there.")
    with _database() as index:
        for path, info in paths.items():
            version = _version(info)
            if index.execute("SELECT version FROM file WHERE path = ?", (str(path),)).fetchone() != (version,):
                index.execute("INSERT OR REPLACE INTO file VALUES (?, ?, NULL)", (str(path), version))
                path.unlink(missing_ok=True)
            if not path.exists():
                _put_empty(path, int(info.get("size") or 0))
    if names == [source]:
        _forget(target.parent if is_text else target, set(paths))
    texts = [target] if is_text else []
    texts += [path for path in paths if path.suffix.lower() in (TEXTS if not is_text else (".txt", ".names"))]
    _fetch_all(list(dict.fromkeys(texts)), {path: int(info.get("size") or 0) for path, info in paths.items()}, source)
    return target.as_posix()


def _entries(files: Any, name: str, source: str) -> dict[str, dict[str, Any]]:
    """Files at or below a name, with what the store says of each."""
    over_http = source.startswith("http")
    is_file = name.lower().endswith(FILES) if over_http else files.isfile(name)
    entries: dict[str, dict[str, Any]] = (
        {name: files.info(name)} if is_file else files.find(f"{name}/" if over_http else name, detail=True)
    )
    entries = {entry: info for entry, info in entries.items() if "?" not in entry}
    unsized = [entry for entry, info in entries.items() if info.get("size") is None]
    with ThreadPoolExecutor(WORKERS) as pool:
        return entries | dict(zip(unsized, pool.map(files.info, unsized), strict=True))


def _address(files: Any, source: str, entry: str) -> str:
    scheme = source.partition(":")[0]
    return _url(scheme, files.unstrip_protocol(entry).partition("://")[2].lstrip("/"))


def _version(info: dict[str, Any]) -> str:
    """What tells a file from a changed one, as far as the store says."""
    return repr(sorted((key.lower(), str(value)) for key, value in info.items() if key.lower() in VERSIONED))


def _forget(folder: Path, listed: set[Path]) -> None:
    """Take out of the tree what the store has no longer."""
    for directory, _, names in os.walk(folder):
        for path in (Path(directory) / name for name in names if not name.startswith(".")):
            if path not in listed:
                path.unlink(missing_ok=True)


def _fetch_all(paths: list[Path], sizes: dict[Path, int], source: str) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    total = sum(sizes.get(path, 0) for path in paths)
    if total > limit():
        raise ValueError(
            f"texts and tables of {redacted(source)} must be at most {limit()} bytes, got {total}: make room, or raise "
            "DIVA_CACHE_BYTES."
        )
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(local, paths))


def digest(path: str | Path) -> str:
    """Hexadecimal sha256 of a file, by its content, or as it was of the same version."""
    target = in_tree(path)
    with _database() as index:
        row = index.execute("SELECT sha256 FROM file WHERE path = ?", (str(target),)).fetchone()
    if row and row[0]:
        return str(row[0])
    with stream(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with _database() as index:
        index.execute("UPDATE file SET sha256 = ? WHERE path = ?", (sha256, str(target)))
    return sha256


@contextlib.contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    """Versions and hashes of files, by their place in the tree."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with _lock, contextlib.closing(sqlite3.connect(CACHE / ".index.db", timeout=60)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("CREATE TABLE IF NOT EXISTS file (path TEXT PRIMARY KEY, version TEXT, sha256 TEXT)")
        with connection:
            yield connection


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and its name there; ValueError where the driver is missing."""
    import fsspec  # type: ignore[import-untyped]

    scheme = url.partition(":")[0]
    try:
        files, name = fsspec.core.url_to_fs(url)
    except ImportError as error:
        way = installing(EXTRAS[scheme]) if scheme in EXTRAS else str(error)
        raise ValueError(f"The driver of {scheme}:// must be installed, got none: {way}.") from None
    except ValueError:
        raise ValueError(f"source must be a URL that fsspec reads, got {redacted(url)}.") from None
    return files, str(name)
