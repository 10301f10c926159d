"""Archives: fetched with a checksum, resumed where a transfer broke off, unpacked without leaving their folder.

An archive may come from anywhere: no member may lie outside the folder it is unpacked to, be a device, or link out of
it, and all together must fit on the disk. What is unpacked appears whole or not at all.
"""

import hashlib
import logging
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from tqdm import tqdm

logger = logging.getLogger(__name__)
BLOCK = 1 << 20
TIMEOUT = 60  # seconds without a byte
ATTEMPTS = 5


def checked(path: Path, checksum: str) -> bool:
    """Whether a file has this checksum, written ``md5:…``, ``sha1:…`` or ``sha256:…``; any file has the empty one."""
    if not checksum:
        return True
    kind, _, expected = checksum.partition(":")
    with path.open("rb") as file:
        # md5 and sha1 guard against a broken transfer: they are what the data sets' authors publish
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest() == expected


def download(url: str, path: Path, checksum: str = "") -> None:
    """Fetch a file; what an earlier attempt left is continued.

    Raises:
        ValueError: ``url`` is not http(s), or the file has another checksum.
        OSError: the network failed ``ATTEMPTS`` times.
    """
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"url must begin with https:// or http://, got {url}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _continue(url, part)
            break
        except (OSError, HTTPException) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if refused or attempt == ATTEMPTS:
                raise OSError(f"{url} could not be fetched: {error}") from None
            logger.warning("%s broke off (%s); attempt %d of %d", url, error, attempt + 1, ATTEMPTS)
    if not checked(part, checksum):
        part.unlink()
        raise ValueError(f"{path.name} must have the checksum {checksum}, got another from {url}; fetch it again.")
    part.replace(path)


def _continue(url: str, part: Path) -> None:
    """Fetch what ``part`` lacks."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - http(s)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310 - http(s) only, see `download`
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing lies beyond what is there: it is whole, as the checksum will tell
            return
        raise
    with response:
        resumed = response.status == 206
        left = int(response.headers.get("Content-Length") or 0)
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(desc=part.name[1:-5], total=left or None, unit="B", unit_scale=True, disable=None) as bar,
        ):
            got = 0
            while block := response.read(BLOCK):
                file.write(block)
                got += len(block)
                bar.update(len(block))
    if got < left:
        raise OSError(f"connection closed {left - got} bytes early")


def is_archive(path: Path) -> bool:
    """Whether the name says that it can be unpacked."""
    return path.name.lower().endswith((".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz"))


def unpack(archive: Path, folder: Path) -> None:
    """Put what an archive holds into ``folder``; what lies there under the same name stays.

    Raises:
        ValueError: it is damaged, no archive, too large for the disk, or a member would lie or point outside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{archive.name}.unpacking"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        _zip(archive, temporary) if archive.name.lower().endswith(".zip") else _tar(archive, temporary)
        _move(temporary, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{archive} must be a whole, harmless archive, got: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(source: Path, to: Path) -> None:
    """All that lies in ``source``, folders merged."""
    for entry in sorted(source.iterdir()):
        there = to / entry.name
        if entry.is_dir() and not entry.is_symlink() and there.is_dir():
            _move(entry, there)
        elif not there.exists():
            entry.replace(there)


def _tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as opened:
        _require_room(sum(member.size for member in opened.getmembers()), folder)
        opened.extractall(folder, filter="data")


def _zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        for member in members:
            name = PurePosixPath(member.filename.replace("\\", "/"))
            kind = member.external_attr >> 28  # of a Unix mode; 10 is a link
            if name.is_absolute() or ".." in name.parts or ":" in name.parts[0:1] or kind == 10:
                raise zipfile.BadZipFile(f"member {member.filename!r} lies or points outside")
        _require_room(sum(member.file_size for member in members), folder)
        opened.extractall(folder)  # noqa: S202 - members are checked above


def _require_room(size: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OSError(f"{size:,} bytes unpacked, with {free:,} free on the disk")
