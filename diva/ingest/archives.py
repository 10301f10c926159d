"""Archives (.zip, .tar and its compressed kinds), unpacked as if an enemy had packed them.

Only regular files are written, each to a new name below the folder; every member passes Python's ``data`` filter first
(no absolute path, no ``..``, no device). Of a delivery, members that do not pass, and links, are set aside with the
reason (``sift``); of a data set by name, none may be there (``unpack``). An archive that is damaged, or larger than the
limits, is refused as a whole.
"""

import shutil
import stat
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from diva.ingest.images import Fault, Listed
from diva.store import remote
from diva.text.progress import track

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
DENSEST = 100  # how much larger than itself an archive may unpack: images do not compress
SMALL = 1 << 28  # bytes to which any archive may unpack
LONGEST = 1 << 20  # bytes of a header
HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
PIECE = 1 << 20
UNICODE = 1 << 11  # the flag of a zip's entry whose name is UTF-8
REMEDY = "Pack the images themselves, by relative names."


class Limits(BaseModel):
    """What an archive may unpack to; ``max_bytes`` None for 100 times its size, or 256 MiB if that is more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int | None = Field(None, ge=1)
    max_files: int = Field(1_000_000, ge=1)


class BoundedHeader(tarfile.TarInfo):
    """A member whose header is as short as headers are; tarfile reads them into memory, however long."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "BoundedHeader":
        """A member, or a header of the next one."""
        info = super().frombuf(buf, encoding, errors)
        if info.type in HEADERS and info.size > LONGEST:
            raise ValueError(f"a header of {info.size} bytes, where {LONGEST} hold any name")
        return info

    def _refused(self, *_: object) -> "BoundedHeader":
        raise ValueError("a sparse file, whose map may be of any length")

    _proc_sparse = _proc_gnusparse_10 = _refused  # what tarfile calls to read such a map


class Member(NamedTuple):
    """An entry of an archive: as tar tells of it, and its content where it is a regular file."""

    info: tarfile.TarInfo
    content: IO[bytes] | None


def is_archive(name: str | Path) -> bool:
    """Whether a name ends as those of archives do."""
    return str(name).lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path) -> None:
    """Put what an archive holds into ``folder``, whole or not at all; what lies there under the same name stays.

    Raises:
        ValueError: it is damaged, no archive, too large for the disk, or a member would lie or point outside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{archive.name}.unpacking"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        room = shutil.disk_usage(folder).free
        aside = sift(archive, temporary, Limits(max_bytes=max(room, 1), max_files=sys.maxsize))
        if aside:
            name, (reason, _) = aside[0].name, aside[0].fault or Fault("", "")
            raise ValueError(
                f"{archive} must be a harmless archive, got a member that lies or points outside: {name!r} ({reason})."
            )
        _move(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(source: Path, to: Path) -> None:
    """All that lies in ``source``, folders merged."""
    for entry in sorted(source.iterdir()):
        there = to / entry.name
        if entry.is_dir() and there.is_dir():
            _move(entry, there)
        elif not there.exists():
            entry.replace(there)


def sift(archive: Path, folder: Path, limits: Limits) -> list[Listed]:
    """Write the files of an archive below ``folder``, which is empty; return the members that are set aside.

    Raises:
        ValueError: the archive is damaged, or larger than its limits.
    """
    aside = []
    with _reading(archive):
        for info, content in track(_within(archive, limits, shutil.disk_usage(folder).free), 0, "files"):
            fault = _written(info, content, folder)
            if fault:
                aside.append(Listed(folder / info.name, info.name, None, fault))
    return aside


def check(archive: Path, limits: Limits, first: bool = False) -> list[str]:
    """Names of files; reads an archive to its end, or its first entry; ValueError where ``sift`` would refuse it."""
    names = []
    with _reading(archive):
        for info, content in track(_within(archive, limits, shutil.disk_usage(archive.parent).free), 0, "files"):
            names += [info.name] if content is not None else []
            while content is not None and content.read(PIECE):
                pass
            if first:
                break
    return names


def _within(archive: Path, limits: Limits, room: int) -> Iterator[Member]:
    """The entries, as long as they keep to the limits."""
    most = most_bytes(archive.stat().st_size, limits.max_bytes, room)
    size = 0
    for count, member in enumerate(members(archive), 1):
        size += member.info.size if member.info.isreg() else 0
        if size > most or count > limits.max_files:
            raise ValueError(
                f"{archive} must unpack to at most {most} bytes and {limits.max_files} files and folders, got more: it "
                "may be a bomb. If it is not, give the batch the options max_bytes and max_files."
            )
        yield member


def most_bytes(size: int, max_bytes: int | None, room: int) -> int:
    """To how many bytes a delivery of this size may unpack: as asked, and never more than there is room for."""
    return min(max_bytes or max(SMALL, DENSEST * size), room)


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Whatever a damaged archive makes its reader raise is a ValueError that names it."""
    try:
        yield
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        if isinstance(error, ValueError) and str(archive) in str(error):
            raise
        if isinstance(error, OSError) and error.errno:  # the system's
            raise
        said = " ".join(str(error).split())[:200] or type(error).__name__
        if isinstance(error, tarfile.ReadError) and "method" in said:
            said = "a file that is neither a whole zip nor a whole tar"
        raise ValueError(f"{archive} must be a whole archive, got: {said}. Fetch or pack it again.") from None


def members(archive: Path) -> Iterator[Member]:
    """Every entry, in the archive's order."""
    return _of_zip(archive) if archive_kind(archive) == "zip" else _of_tar(archive)


def archive_kind(archive: Path) -> str:
    """zip or tar, by content: a downloaded file has no telling name."""
    if not zipfile.is_zipfile(archive):
        return "tar"
    try:
        with tarfile.open(archive, tarinfo=BoundedHeader):
            return "tar"
    except tarfile.TarError:
        return "zip"


def plain_tar(archive: Path) -> Iterator[Member]:
    """Every entry of a tar that is not compressed, so that an entry lies in it byte by byte."""
    return _of_tar(archive, "r:")


def _of_tar(archive: Path, mode: Literal["r:*", "r:"] = "r:*") -> Iterator[Member]:
    with remote.stream(archive) as stream, tarfile.open(None, mode, stream, tarinfo=BoundedHeader) as file:
        while info := file.next():
            if sum(len(name) + len(value) for name, value in file.pax_headers.items()) > LONGEST:
                raise ValueError(f"headers for all members of more than {LONGEST} bytes")
            yield Member(info, file.extractfile(info) if info.isreg() else None)
            file.members.clear()  # type: ignore[attr-defined]  # it keeps all that it has seen
        if file.fileobj is not None:
            file.fileobj.seek(file.offset)
            if file.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError("its end is missing")


def _of_zip(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            info = _as_tar(entry)
            if not info.isreg():
                yield Member(info, None)
                continue
            if entry.flag_bits & 1:
                raise ValueError(f"{archive} must be a whole archive, got an encrypted one. Unpack it yourself.")
            with file.open(entry) as content:
                yield Member(info, content)


def _name_of(entry: zipfile.ZipInfo) -> str:
    """Its name, where that is UTF-8 though nothing says so, as macOS packs it; else as zipfile reads it."""
    if entry.flag_bits & UNICODE:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


def names_in_doubt(archive: Path) -> list[str]:
    """Names in a zip of which nothing says how they are encoded: read as DOS's, they may be another's."""
    if archive_kind(archive) != "zip":
        return []
    with zipfile.ZipFile(archive) as file:
        unsaid = [entry for entry in file.infolist() if not (entry.flag_bits & UNICODE or entry.filename.isascii())]
    return [entry.filename for entry in unsaid if _name_of(entry) == entry.filename]


def _as_tar(entry: zipfile.ZipInfo) -> tarfile.TarInfo:
    """A zip's entry in tar's words, so that one filter judges both."""
    info = tarfile.TarInfo(_name_of(entry).replace("\\", "/"))  # as Windows packs it
    info.size = entry.file_size
    kind = stat.S_IFMT(entry.external_attr >> 16)
    types = {stat.S_IFLNK: tarfile.SYMTYPE, stat.S_IFIFO: tarfile.FIFOTYPE, stat.S_IFCHR: tarfile.CHRTYPE}
    info.type = tarfile.DIRTYPE if entry.is_dir() else types.get(kind, tarfile.REGTYPE)
    return info


def _written(info: tarfile.TarInfo, content: IO[bytes] | None, folder: Path) -> Fault | None:
    """Write a member; why not, where it is set aside."""
    if info.isdir():
        return None
    if info.issym() or info.islnk():
        return Fault(f"link in an archive: to {info.linkname or 'another file'}", REMEDY)
    if info.name.startswith("/") or (len(info.name) > 1 and info.name[1] == ":"):
        return Fault("absolute path in an archive", REMEDY)
    try:
        safe = tarfile.data_filter(info, str(folder))
    except tarfile.FilterError as error:
        return Fault(f"unsafe member of an archive: {' '.join(str(error).split())}", REMEDY)
    if content is None:
        return Fault("no file in an archive: a device or a named pipe", REMEDY)
    return _copied(content, folder / safe.name)


def _copied(content: IO[bytes], path: Path) -> Fault | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return Fault("below a file in an archive", REMEDY)
    try:
        file = path.open("xb")
    except FileExistsError:
        return Fault("name twice in an archive", "Pack each image under a name of its own.")
    with file:
        shutil.copyfileobj(content, file, PIECE)
    return None
