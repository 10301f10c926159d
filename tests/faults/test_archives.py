"""Faults of archives: members that do not belong are set aside, archives that lie are refused, nothing is written outside."""

import hashlib
import io
import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diva.ingest import archives, fetch
from tests.faults.case import REFUSED, SET_ASIDE, UNHARMED, Case
from tests.faults.conftest import GOOD, Undisturbed
from tests.faults.server import Server, serving
from tests.projects import real_stages as project

ALBUM = Path("photos")
OUTSIDE = Path(tempfile.gettempdir()) / "struck.png"
TAR, ZIP = Path("photos.tar.gz"), Path("photos.zip")


def tar(*more: tuple[tarfile.TarInfo, bytes], path: Path = TAR) -> Path:
    """The good images, and more."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as file:
        file.add(ALBUM)
        for info, content in more:
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def image() -> bytes:
    return project.photograph(Path("one.png"), 1, "cat").read_bytes()


def with_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[], Path]:
    return lambda: tar((entry(name, kind, link), image() if kind == tarfile.REGTYPE else b""))


def zipped(*more: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(ZIP, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(ALBUM.rglob("*.png")):
            file.write(path)
        for name, content in more:
            file.writestr(name, content)
    return ZIP


def link_in_zip() -> Path:
    info = zipfile.ZipInfo("photos/cat/link.png")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return zipped((info, b"/etc/passwd"))


def bad(name: str, what: str, plant: Callable[[], Path], kind: str) -> object:
    return Case(name, "archives", what, SET_ASIDE).param(plant, kind)


PLANTED = [
    bad("a path with ..", "a member that climbs out of the folder", with_member("photos/cat/../../../struck.png"), "unsafe member"),
    bad("an absolute path", "a member that names a place on this machine", with_member(f"{OUTSIDE}"), "absolute path"),
    bad("a link out", "a symbolic link to a file elsewhere", with_member("photos/cat/a.png", tarfile.SYMTYPE, "/etc/passwd"), "link in an archive"),
    bad("a link inside", "a symbolic link to another member", with_member("photos/cat/a.png", tarfile.SYMTYPE, "100.png"), "link in an archive"),
    bad("a hard link", "a second name for a file elsewhere", with_member("photos/cat/a.png", tarfile.LNKTYPE, "../../core/cat/000.png"), "link in an archive"),
    bad("a device", "a device file", with_member("photos/cat/a.png", tarfile.CHRTYPE), "unsafe member"),
    bad("a FIFO", "a named pipe", with_member("photos/cat/a.png", tarfile.FIFOTYPE), "unsafe member"),
    bad("one name twice", "a second member of the same name", with_member("photos/dog/100.png"), "name twice"),
    bad("a file as a folder", "a member below another that is a file", with_member("photos/dog/100.png/a.png"), "below a file"),
    bad("a zip with ..", "a member of a zip that climbs out", lambda: zipped(("photos/cat/../../../struck.png", image())), "unsafe member"),
    bad("a zip with a link", "a symbolic link as Unix packs it", link_in_zip, "link in an archive"),
    bad("a text among images", "a member that is no image", lambda: zipped(("photos/cat/readme.png", b"hello")), "not an image"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "plant", "kind"), PLANTED)
def test_a_member_that_does_not_belong_is_set_aside_and_never_written(
    album: Undisturbed, fault: Case, plant: Callable[[], Path], kind: str
) -> None:
    assert ALBUM.is_dir()
    archive = plant()
    around = set(album.root.parent.iterdir())
    batch = project.half_night(archive)
    refused = project.quarantine(batch)
    assert len(refused) == 1
    assert refused["reason"][0].startswith(kind)
    assert refused["remedy"][0].endswith(".")
    assert set(album.root.parent.iterdir()) == around
    assert not OUTSIDE.exists()
    unpacked = [path for path in Path("data/raw", batch).rglob("*") if not path.is_dir()]
    assert all(path.is_file() and not path.is_symlink() for path in unpacked)
    project.night("more")
    assert project.alike(project.released(), album.released)


def cut(path: Callable[[], Path]) -> Callable[[], Path]:
    def plant() -> Path:
        archive = path()
        os.truncate(archive, archive.stat().st_size * 2 // 3)
        return archive

    return plant


def cut_between() -> Path:
    """A tar that ends after a member: only the two blocks of its end are missing."""
    archive = tar(path=Path("photos.tar"))
    with tarfile.open(archive) as file:
        last = file.getmembers()[-2]
    os.truncate(archive, last.offset_data + -(-last.size // 512) * 512)
    return archive


def bomb_tar() -> Path:
    with tarfile.open(TAR, "w:gz", compresslevel=1) as file:
        for number in range(3):
            info = entry(f"photos/cat/{number}.png")
            info.size = 20_000_000
            file.addfile(info, io.BytesIO(bytes(info.size)))
    return TAR


def bomb_zip() -> Path:
    return zipped(*((f"photos/cat/{number}.png", bytes(20_000_000)) for number in range(3)))


def with_header(kind: bytes, content: bytes) -> Callable[[], Path]:
    """A tar.gz whose first member is a header."""

    def plant() -> Path:
        with tarfile.open(TAR, "w:gz", compresslevel=1) as file:
            info = entry("header", kind)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
            file.add(ALBUM)
        return TAR

    return plant


def long_name() -> Path:
    return with_header(tarfile.GNUTYPE_LONGNAME, b"a" * 20_000_000)()


def long_attributes() -> Path:
    text = f" comment={'a' * 20_000_000}\n"
    return with_header(tarfile.XHDTYPE, f"{len(text) + 8}{text}".encode())()


def global_attributes() -> Path:
    """Headers that count for all members, each of them short."""
    with tarfile.open(TAR, "w:gz", compresslevel=1) as file:
        for number in range(30):
            text = f" DIVA.{number:02d}={'a' * 99_984}\n"
            info = entry("header", tarfile.XGLTYPE)
            info.size = len(text) + 6
            file.addfile(info, io.BytesIO(f"{info.size}{text}".encode()))
            file.addfile(entry(f"photos/cat{number}", tarfile.DIRTYPE))
        file.add(ALBUM)
    return TAR


def sparse() -> Path:
    """A file with holes, told in 40,000 pieces."""
    info = entry("photos/cat/sparse.png")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
    pieces = b"40000\n" + b"1\n1\n" * 40_000
    return tar((info, pieces + bytes(-len(pieces) % 512)))


def many_folders() -> Path:
    with tarfile.open(TAR, "w:gz", compresslevel=1) as file:
        for number in range(200):
            file.addfile(entry(f"photos/{number}", tarfile.DIRTYPE))
    return TAR


def encrypted() -> Path:
    """A zip whose members say that they need a password."""
    content = bytearray(zipped().read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(signature)
        while place >= 0:
            content[place + flags] |= 1
            place = content.find(signature, place + 4)
    ZIP.write_bytes(content)
    return ZIP


def damaged() -> Path:
    content = bytearray(zipped().read_bytes())
    content[200:260] = bytes(60)
    ZIP.write_bytes(content)
    return ZIP


def text() -> Path:
    ZIP.write_text("not an archive\n", encoding="utf-8")
    return ZIP


def bad_archive(name: str, what: str, plant: Callable[[], Path], said: str = "must be a whole archive") -> object:
    return Case(name, "archives", what, REFUSED).param(plant, said)


REFUSALS = [
    bad_archive("a tar bomb", "60 MB of zeros in 260 kB", bomb_tar, "must unpack to at most"),
    bad_archive("a zip bomb", "60 MB of zeros in 60 kB", bomb_zip, "must unpack to at most"),
    bad_archive("a bomb in a long name", "20 MB of name in 90 kB", long_name, "a header of 20000000 bytes"),
    bad_archive("a bomb in a header", "20 MB of attributes in 90 kB", long_attributes, "a header of 20000"),
    bad_archive(
        "a bomb in many headers",
        "attributes of all members, more with each member",
        global_attributes,
        "headers for all members",
    ),
    bad_archive("a sparse file", "a member with holes, and a map of them", sparse, "a sparse file"),
    bad_archive("a truncated tar", "a .tar.gz cut after two thirds", cut(tar)),
    bad_archive("a tar that ends early", "a .tar cut between two members, which readers take for its end", cut_between),
    bad_archive("a truncated zip", "a .zip cut after two thirds", cut(zipped)),
    bad_archive("a damaged member", "zeros within a member of a zip", damaged),
    bad_archive("an encrypted zip", "members that need a password", encrypted),
    bad_archive("text as an archive", "text under the name of a zip", text),
]


@pytest.mark.parametrize(("fault", "plant", "said"), REFUSALS)
def test_an_archive_that_cannot_be_trusted_is_refused_as_a_whole(
    album: Undisturbed, fault: Case, plant: Callable[[], Path], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "SMALL", 1 << 24)  # a smaller bomb will do
    archive, before = plant(), project.files()
    for attempt in (project.taste, project.half_night):  # before it is accepted, and if it was accepted all the same
        with pytest.raises(ValueError, match=said) as told:
            attempt(archive)
        assert archive.name in str(told.value)
    project.take_back()
    assert project.files() == before
    project.half_night("photos")
    project.night("more")
    assert project.same(project.released(), album.released)


@Case("too many files", "archives", "more members than allowed, files or folders", REFUSED).test
def test_the_options_of_a_batch_limit_its_archive(album: Undisturbed) -> None:
    for archive, most in ((zipped(), 5), (many_folders(), 100)):
        with pytest.raises(ValueError, match=rf"{archive} must unpack to .* and {most} files and folders, got more"):
            project.half_night(archive, {"max_files": most})
        project.take_back()
    project.half_night(zipped(), {"max_files": 9, "max_bytes": 1 << 20})
    project.night("more")
    assert project.alike(project.released(), album.released)


@pytest.fixture
def site(album: Undisturbed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The good images by URL."""
    monkeypatch.setattr(fetch, "PAUSES", (0.0, 0.0))
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    with serving(tar().read_bytes()) as server:
        yield server


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def source(site: Server) -> str:
    return f"{site.url}#sha256={digest(site.content)}"


def check_unharmed(album: Undisturbed, where: str) -> None:
    batch = project.half_night(where)
    assert project.quarantine(batch).is_empty()
    assert len(list(Path("data/raw", batch).rglob("*.png"))) == len(GOOD)
    assert not list(fetch.CACHE.iterdir())
    project.night("more")
    assert project.alike(project.released(), album.released)


@Case(
    "an interrupted download", "archives", "a connection that breaks off twice: the third goes on from there", UNHARMED
).test
def test_a_download_goes_on_where_it_broke_off(album: Undisturbed, site: Server) -> None:
    site.breaks = 2
    check_unharmed(album, source(site))
    third = len(site.content) // 3
    assert [asked for asked, _ in site.asked][:2] == [None, f"bytes={third}-"]


@Case(
    "a server that cannot go on", "archives", "a broken connection to a server without ranges: it starts anew", UNHARMED
).test
def test_a_server_without_ranges_is_asked_for_all_of_it_again(album: Undisturbed, site: Server) -> None:
    site.breaks, site.ranges = 1, False
    check_unharmed(album, source(site))


@Case("a download that never ends well", "archives", "every connection breaks off; the next run goes on", REFUSED).test
def test_the_next_run_goes_on_where_the_last_gave_up(album: Undisturbed, site: Server) -> None:
    site.breaks = 99
    batch = project.accept(source(site))
    with pytest.raises(
        ValueError, match=r"photos\.tar\.gz could not be fetched: .*bytes are here; the next run goes on"
    ):
        project.run_round()
    here = next(fetch.CACHE.iterdir()).stat().st_size
    assert 0 < here < len(site.content)
    assert not Path("data/manifests", f"{batch}.parquet").exists()
    site.breaks = 0
    project.run_round()
    assert site.asked[-1][0] == f"bytes={here}-"
    project.night("more")
    assert project.alike(project.released(), album.released)


@Case(
    "a download without an end", "archives", "a server that says no length and sends until the disk is full", REFUSED
).test
def test_a_download_of_no_length_leaves_room_on_the_disk(
    album: Undisturbed, site: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(path: Path) -> object:
        held = sum(file.stat().st_size for file in fetch.CACHE.iterdir())
        return real(path)._replace(free=fetch.SPARE + (8 << 20) - held)

    real = fetch.shutil.disk_usage
    site.endless = True
    with monkeypatch.context() as patch:
        patch.setattr(fetch.shutil, "disk_usage", usage)
        with pytest.raises(ValueError, match=r"photos\.tar\.gz could not be fetched: .*no room"):
            project.half_night(source(site))
    assert not list(fetch.CACHE.iterdir()), "what filled the disk is gone"
    project.take_back()
    site.endless = False
    check_unharmed(album, source(site))


@Case("wrong checksum", "archives", "another file than the one that was accepted", REFUSED).test
def test_another_file_under_the_same_url_is_refused(album: Undisturbed, site: Server) -> None:
    right, good = source(site), site.content
    site.content = good[:-1] + bytes([good[-1] ^ 1])
    project.accept(right)
    with pytest.raises(
        ValueError, match=rf"must have the checksum sha256:{digest(good)}, got sha256:{digest(site.content)}"
    ):
        project.run_round()
    assert not list(fetch.CACHE.iterdir())
    site.content = good
    project.run_round()
    project.night("more")
    assert project.alike(project.released(), album.released)


@Case(
    "a rest of another file", "archives", "what an earlier run left is of another file: it is fetched anew", UNHARMED
).test
def test_what_another_file_left_behind_does_no_lasting_harm(album: Undisturbed, site: Server) -> None:
    fetch.CACHE.mkdir(parents=True)
    (fetch.CACHE / f".{digest(site.content)}.part").write_bytes(b"x" * 50)
    with pytest.raises(ValueError, match="must have the checksum"):
        project.half_night(source(site))
    project.take_back()
    check_unharmed(album, source(site))


@Case("no such file on the server", "archives", "the server answers 404", REFUSED).test
def test_what_a_server_does_not_have_is_not_asked_for_again(album: Undisturbed, site: Server) -> None:
    site.leads = f"http://127.0.0.1:{site.server_port}/loop"
    with pytest.raises(ValueError, match=r"photos\.tar\.gz could not be fetched: .*302"):
        project.half_night(source(site))
    project.take_back()
    site.leads = ""
    check_unharmed(album, source(site))


@Case("a redirect to a file", "archives", "a server that leads to a file of this machine", REFUSED).test
def test_a_server_cannot_lead_to_a_file_of_this_machine(album: Undisturbed, site: Server) -> None:
    site.leads = "file:///etc/passwd"
    with pytest.raises(ValueError, match=r"photos\.tar\.gz could not be fetched: .*file:///etc/passwd' is not allowed"):
        project.half_night(source(site))
    project.take_back()
    site.leads = ""
    check_unharmed(album, source(site))


@Case("by a file's URL", "archives", "file:// with a checksum: read where it lies, and left there", UNHARMED).test
def test_a_file_url_is_read_in_place(album: Undisturbed) -> None:
    archive = tar().absolute()
    fetch.CACHE.mkdir(parents=True)
    check_unharmed(album, f"{archive.as_uri()}#sha256={digest(archive.read_bytes())}")
    assert archive.is_file()


@Case("no checksum", "archives", "a URL without the checksum of its file", REFUSED).test
def test_a_url_without_a_checksum_is_refused(album: Undisturbed) -> None:
    with pytest.raises(ValueError, match=r"URL#sha256=.*sha256sum"):
        project.accept("https://example.invalid/photos.tar.gz")
