"""A file by URL, over ``requests``: each attempt continues where the last one broke off, and the checksum decides.

What a delivery's URL brings lies in ``.dvc/tmp``.
"""

import errno
import logging
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import requests
from requests.utils import get_netrc_auth
from urllib3.exceptions import HTTPError

from diva.store import digests
from diva.text.progress import track
from diva.text.redaction import redacted

logger = logging.getLogger(__name__)
CACHE = Path(".dvc/tmp/diva")  # git-ignored, this machine's
PAUSES = (0.0, 1.0, 5.0, 30.0)  # seconds before each further attempt
TIMEOUT = 60.0  # seconds without a byte
PIECE = 1 << 20
SPARE = 1 << 28  # bytes of the disk that stay free


def by_url(url: str, sha256: str) -> Path:
    """The file of a URL (http, https or file), as a path; delete it when it is done with, unless the URL is a file's.

    Raises:
        ValueError: it cannot be fetched, or is another file than its checksum says.
    """
    plain = urldefrag(url).url
    if urlsplit(plain).scheme == "file":
        path = Path(unquote(urlsplit(plain).path))
        if not path.is_file():
            raise ValueError(f"{url} must be a file, got nothing there.")
        require(path, url, f"sha256:{sha256}")
        return path
    try:
        download(plain, CACHE / sha256, f"sha256:{sha256}")
    except OSError as error:
        raise ValueError(f"{error}; the next run goes on from there.") from None
    return CACHE / sha256


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
    part.touch()
    for pause in (*PAUSES, None):
        try:
            _append(url, part)
            break
        except (OSError, HTTPError) as error:  # those of requests are OSErrors, those of urllib3 are not
            _retry(error, f"{redacted(url)} could not be fetched", part, pause)
    try:
        require(part, url, checksum)
    except ValueError:
        part.unlink()
        raise
    part.replace(path)


def _append(url: str, part: Path) -> None:
    """Append to a file what it lacks of a URL's."""
    start = part.stat().st_size
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with _Session() as session, session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable and start:
            return  # the file is whole, or what is here is of another one: the checksum tells
        answer.raise_for_status()
        length = int(answer.headers.get("Content-Length") or 0)
        _require_room(part, length)
        with part.open("ab" if answer.status_code == requests.codes.partial_content else "wb") as file:
            for piece in track(answer.raw.stream(PIECE, decode_content=False), length, "bytes", len):
                _require_room(part, 0 if length else len(piece))
                file.write(piece)


def _retry(error: Exception, what: str, part: Path, pause: float | None) -> None:
    """Wait, or raise where no attempt is left or none would help: the disk is full, or a server has no such file."""
    answer, full = getattr(error, "response", None), getattr(error, "errno", None) == errno.ENOSPC
    refused = answer is not None and answer.status_code < 500 and answer.status_code not in (408, 429)
    reason = redacted(str(error) if answer is None else f"HTTP Error {answer.status_code}: {error}")
    said = f"{what}: {reason}; {part.stat().st_size} bytes are here"
    if full:
        part.unlink()  # or the disk would stay full
    if pause is None or full or refused:
        raise OSError(said) from None
    logger.warning("%s; another attempt in %.0f s", said, pause)
    time.sleep(pause)


def require(path: Path, url: str, checksum: str) -> None:
    """Refuse a file with another checksum than this, ``md5:…``, ``sha1:…`` or ``sha256:…``; empty takes any file."""
    kind = checksum.partition(":")[0]
    if not kind:
        return
    digest = digests.digest(path, kind)
    if f"{kind}:{digest}" != checksum:
        raise ValueError(
            f"{redacted(url)} must have the checksum {checksum}, got {kind}:{digest}: another file, or changed on its "
            "way. Ask who made it which one is right; a new file is a new batch."
        )


def _require_room(part: Path, size: int) -> None:
    if size and shutil.disk_usage(part.parent).free < size + SPARE:
        raise OSError(errno.ENOSPC, f"{size} bytes or more are to come, and the disk has no room for them")


class _Session(requests.Session):
    """Follows redirects, but never away from https; logins come from ~/.netrc and travel over https only."""

    def __init__(self) -> None:
        super().__init__()
        self.auth = _login

    def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
        """The login of the host that a redirect leads to, in place of the last one's."""
        url = prepared_request.url
        if urlsplit(url).scheme not in ("https", urlsplit(response.url).scheme):
            raise requests.exceptions.InvalidURL(f"a redirect to '{url}' is not allowed", response=response)
        prepared_request.headers.pop("Authorization", None)
        _login(prepared_request)


def _login(request: Any) -> Any:
    login = get_netrc_auth(request.url) if urlsplit(request.url).scheme == "https" else None
    return requests.auth.HTTPBasicAuth(*login)(request) if login else request
