"""A file by URL: fetched in pieces that a later try goes on from, kept only where its checksum is the one asked for.

So a killed run, or a connection that breaks, loses nothing. What a delivery's URL brings lies in ``.dvc/tmp``.
"""

import contextlib
import errno
import hashlib
import http.client
import logging
import netrc
import os
import shutil
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urldefrag, urlsplit

from diva.text.progress import track
from diva.text.redaction import redacted

logger = logging.getLogger(__name__)
HERE = Path(".dvc/tmp/diva")  # git-ignored, this machine's
PAUSES = (0.0, 1.0, 5.0, 30.0)  # seconds before each further attempt
TIMEOUT = 60.0  # seconds without a byte
PIECE = 1 << 20
SPARE = 1 << 28  # bytes of the disk that stay free
BROKEN = (OSError, http.client.HTTPException)  # of the network; urllib's own errors are OSErrors


def by_url(url: str, sha256: str) -> Path:
    """The file of a URL (http, https or file), as a path; delete it when it is done with, unless the URL is a file's.

    Raises:
        ValueError: it cannot be fetched, or is another file than its checksum says.
    """
    plain = urldefrag(url).url
    parts = urlsplit(plain)
    if parts.scheme != "file":
        path = HERE / sha256
        try:
            download(plain, path, f"sha256:{sha256}")
        except OSError as error:
            raise ValueError(f"{error}; the next run goes on from there.") from None
        return path
    path = Path(unquote(parts.path))
    if not path.is_file():
        raise ValueError(f"{url} must be a file, got nothing there.")
    _require(path, url, f"sha256:{sha256}")
    return path


def download(url: str, path: Path, checksum: str = "") -> None:
    """Fetch a file; what an earlier attempt left is continued.

    Args:
        url: http or https.
        path: where it will lie, whole or not at all; beside it, what is here so far.
        checksum: ``md5:…``, ``sha1:…`` or ``sha256:…``; empty to take any file.

    Raises:
        ValueError: another kind of URL, or the file has another checksum.
        OSError: the network failed at every attempt, or the disk has no room; then nothing is left of it.
    """
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"url must begin with https:// or http://, got {redacted(url)}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    for pause in (*PAUSES, None):
        try:
            _go_on(url, part)
            break
        except BROKEN as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                part.unlink(missing_ok=True)  # or the disk would stay full
            said = f"{redacted(url)} could not be fetched: {redacted(str(error))}; {_size(part)} bytes are here"
            if pause is None or not _may_recover(error):
                raise OSError(said) from None
            logger.warning("%s; another attempt in %.0f s", said, pause)
            time.sleep(pause)
    try:
        _require(part, url, checksum)
    except ValueError:
        part.unlink()
        raise
    part.replace(path)


def checked(path: Path, checksum: str) -> bool:
    """Whether a file has this checksum, written ``md5:…``, ``sha1:…`` or ``sha256:…``; any file has the empty one."""
    return not checksum or _digest(path, checksum) == checksum


def _digest(path: Path, like: str) -> str:
    """The checksum of a file, of the kind of another."""
    kind = like.partition(":")[0]
    with path.open("rb") as file:
        # md5 and sha1 guard against a broken transfer: they are what the data sets' authors publish
        return f"{kind}:{hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()}"


def _require(path: Path, url: str, checksum: str) -> None:
    if checked(path, checksum):
        return
    raise ValueError(
        f"{redacted(url)} must have the checksum {checksum}, got {_digest(path, checksum)}: another file, or changed "
        "on its way. Ask who made it which one is right; a new file is a new batch."
    )


def _may_recover(error: BaseException) -> bool:
    """Whether another try may help: not where the server says that there is no such file for us."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 429)
    return getattr(error, "errno", None) != errno.ENOSPC


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _go_on(url: str, partial: Path) -> None:
    """Append what is missing."""
    start = _size(partial)
    request = urllib.request.Request(url, headers=_headers(url, start))  # noqa: S310 - http or https: see open_source
    try:
        answer = OPENER.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
            raise
        return  # all of it is here, or what is here is of another file: the checksum tells
    with answer, partial.open("ab" if answer.status == http.client.PARTIAL_CONTENT else "wb") as file:
        length = int(answer.headers.get("Content-Length") or 0)
        _require_room(partial, length)
        for piece in track(_pieces(answer, length or None), length, "bytes", len):
            if not length:  # nobody knows how much is to come
                _require_room(partial, len(piece))
            file.write(piece)


def _require_room(partial: Path, size: int) -> None:
    if shutil.disk_usage(partial.parent).free < size + SPARE:
        raise OSError(errno.ENOSPC, f"{size} bytes or more are to come, and the disk has no room for them")


def _pieces(answer: IO[bytes], length: int | None) -> Iterator[bytes]:
    """The body; an error where it ends before its length."""
    while piece := answer.read(PIECE):
        length = None if length is None else length - len(piece)
        yield piece
    if length:
        raise OSError(f"connection closed {length} bytes early")


def _headers(url: str, start: int) -> dict[str, str]:
    found = {"Range": f"bytes={start}-"} if start else {}
    return found | _login(url)


def _login(url: str) -> dict[str, str]:
    """From ~/.netrc, and only over https: secrets never stand in the URL."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        return {}
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        known = netrc.netrc(os.environ.get("NETRC")).authenticators(parts.hostname)
        if known:
            return {"Authorization": "Basic " + b64encode(f"{known[0]}:{known[2]}".encode()).decode()}
    return {}


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to another place, but never away from https, and never with the login of the first one."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme != "https"):
            raise urllib.error.HTTPError(newurl, code, f"{old.scheme} must not lead to {new.scheme}", headers, fp)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and old.netloc != new.netloc:
            request.remove_header("Authorization")
        return request


OPENER = urllib.request.build_opener(_Redirects)
