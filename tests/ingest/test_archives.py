import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from diva.ingest import archives, fetch

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Server(ThreadingHTTPServer):
    """Serves CONTENT, with ranges or without, and breaks off when told to."""

    breaks: list[int]
    ranges = True
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path == "/absent":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.breaks.pop(0)] if self.server.breaks else body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(fetch, "PAUSES", (0.0,) * 4)
    running = Server(("127.0.0.1", 0), Handler)
    running.breaks, running.asked = [], []
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def url(server: Server, path: str = "/file.tgz") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256"])
def test_a_file_is_fetched_and_its_checksum_compared(server, tmp_path, kind):
    good = f"{kind}:{hashlib.new(kind, CONTENT).hexdigest()}"
    fetch.download(url(server), tmp_path / "new" / "file.tgz", good)
    assert (tmp_path / "new" / "file.tgz").read_bytes() == CONTENT
    with pytest.raises(ValueError, match="must have the checksum"):
        fetch.download(url(server), tmp_path / "bad.tgz", f"{kind}:00")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]  # nothing stays of a bad one


def test_a_transfer_that_broke_off_goes_on_where_it_stopped(server, tmp_path):
    server.breaks = [300_000, 1000]
    fetch.download(url(server), tmp_path / "file.tgz")
    assert server.asked == [None, "bytes=300000-", "bytes=301000-"]
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT


def test_what_a_killed_process_left_is_continued(server, tmp_path):
    (tmp_path / ".file.tgz.part").write_bytes(CONTENT[:500_000])
    fetch.download(url(server), tmp_path / "file.tgz")
    assert server.asked == ["bytes=500000-"]
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT
    (tmp_path / ".whole.tgz.part").write_bytes(CONTENT)
    fetch.download(url(server), tmp_path / "whole.tgz", f"sha256:{hashlib.sha256(CONTENT).hexdigest()}")
    assert (tmp_path / "whole.tgz").exists()


def test_a_server_without_ranges_sends_all_of_it_again(server, tmp_path):
    server.ranges, server.breaks = False, [300_000]
    fetch.download(url(server), tmp_path / "file.tgz")
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT


def test_what_cannot_be_fetched_is_named(server, tmp_path, monkeypatch):
    with pytest.raises(OSError, match="/absent could not be fetched: HTTP Error 404"):
        fetch.download(url(server, "/absent"), tmp_path / "file.tgz")
    assert len(server.asked) == 1  # asking again would not help
    server.breaks = [10] * 5
    with pytest.raises(OSError, match="more expected"):
        fetch.download(url(server), tmp_path / "file.tgz")
    with pytest.raises(ValueError, match="url must begin with"):
        fetch.download("file:///etc/passwd", tmp_path / "file.tgz")


def test_a_server_leads_to_https_or_to_its_own_kind_and_logins_go_over_https_only(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text(
        "machine a.example login user password secret\nmachine b.example login x password y\n"
    )
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    session = fetch._Session()

    def asked(url: str) -> requests.PreparedRequest:
        return session.prepare_request(requests.Request("GET", url))

    assert asked("https://a.example/x").headers["Authorization"].startswith("Basic ")
    assert "Authorization" not in asked("http://a.example/x").headers
    for before, after in (("https://a.example", "http://a.example"), ("http://a.example", "ftp://a.example")):
        response, request = requests.Response(), asked("https://a.example/x")
        response.url, request.url = f"{before}/x", f"{after}/x"
        with pytest.raises(OSError, match=r"a redirect to .* is not allowed"):
            session.rebuild_auth(request, response)
    for after, login in (("https://other.example/x", None), ("https://b.example/x", "Basic eDp5")):
        response, request = requests.Response(), asked("https://a.example/x")
        response.url, request.url = "https://a.example/x", after
        session.rebuild_auth(request, response)
        assert request.headers.get("Authorization") == login


def tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for member in members:
            member.size = 3 if member.isreg() else 0
            file.addfile(member, io.BytesIO(b"abc") if member.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize("suffix", ["tgz", "zip"])
def test_an_archive_is_unpacked_beside_what_is_there(tmp_path, suffix):
    archive, to = tmp_path / f"a.{suffix}", tmp_path / "to"
    if suffix == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("one/x.txt", "abc")
            file.writestr("one/deep/y.txt", "abc")
    else:
        tar(archive, member("one/x.txt"), member("one/deep/y.txt"))
    (to / "one").mkdir(parents=True)
    (to / "one" / "x.txt").write_text("mine")
    archives.unpack(archive, to)
    assert (to / "one" / "x.txt").read_text() == "mine"
    assert (to / "one" / "deep" / "y.txt").read_text() == "abc"
    assert sorted(path.name for path in to.iterdir()) == ["one"]


@pytest.mark.parametrize(
    "bad",
    [
        member("../out.txt"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("link", tarfile.SYMTYPE, "../../x"),
        member("hard", tarfile.LNKTYPE, "../../x"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
    ],
    ids=lambda info: f"{info.name}-{info.linkname}",
)
def test_a_tar_that_reaches_out_of_its_folder_leaves_nothing(tmp_path, bad):
    archive = tar(tmp_path / "a.tgz", member("good.txt"), bad)
    with pytest.raises(ValueError, match="harmless archive"):
        archives.unpack(archive, tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())
    assert not (tmp_path / "out.txt").exists()


def test_an_absolute_name_in_a_tar_is_refused(tmp_path):
    with pytest.raises(ValueError, match="absolute path"):
        archives.unpack(tar(tmp_path / "a.tgz", member("/absolute.txt")), tmp_path / "to")


@pytest.mark.parametrize("name", ["../out.txt", "/absolute.txt", "a/../../out.txt", "..\\out.txt", "link"])
def test_a_zip_that_reaches_out_of_its_folder_leaves_nothing(tmp_path, name):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("good.txt", "abc")
        info = zipfile.ZipInfo(name)
        info.external_attr = (0o120777 if name == "link" else 0o100644) << 16
        file.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="lies or points outside"):
        archives.unpack(archive, tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())


def test_damaged_ones_and_others_are_told(tmp_path):
    whole = tar(tmp_path / "a.tgz", *(member(f"{number}.txt") for number in range(500)))
    for name, content in (("cut.tgz", whole.read_bytes()[:300]), ("text.zip", b"text"), ("text.tar", b"text")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} must be a whole"):
            archives.unpack(tmp_path / name, tmp_path / "to")
    assert archives.is_archive(Path("a.TAR.GZ"))
    assert not archives.is_archive(Path("a.mat"))


def test_what_does_not_fit_on_the_disk_is_not_begun(tmp_path, monkeypatch):
    archive = tar(tmp_path / "a.tgz", member("x.txt"))
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: archives.shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ValueError, match="must unpack to at most 1 bytes"):
        archives.unpack(archive, tmp_path / "to")
