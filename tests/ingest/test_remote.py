"""Sources elsewhere: the same samples as on this disk, whatever of them is here, over HTTP and fsspec's memory."""

import functools
import http.server
import importlib.util
import os
import shutil
import threading
from pathlib import Path

import fsspec
import polars as pl
import pytest

from diva.ingest import project, sources
from diva.ingest.inspection import inspect_source
from diva.store import ledger, parts, remote
from tests.ingest import layouts
from tests.ingest.test_formats import WHOLE, pixels


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    """A project without a cache, and an empty memory."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr(remote, "PAUSES", ())
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def served(tmp_path):
    """The address of a folder that a server on loopback shows, and the requests for files that it has had."""
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *given: object) -> None:
            requests.append(" ".join(map(str, given)))

    folder = tmp_path / "shown"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder, requests
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bucket(monkeypatch):
    """The address of an empty bucket of a server on loopback that speaks S3."""
    pytest.importorskip("s3fs", reason="the extra test-s3 is not installed")
    server = pytest.importorskip("moto.server", reason="the extra test-s3 is not installed")
    store = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    store.start()
    host, port = store.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir(f"bucket-{port}")
    yield f"s3://bucket-{port}"
    store.stop()
    fsspec.filesystem("s3").clear_instance_cache()


def put(folder: Path, url: str) -> None:
    files, name = fsspec.core.url_to_fs(url)
    files.put(f"{folder}/", name, recursive=True)


def read(source: str, batch: str = "core", **given: object):
    options = project.options_of(source, batch, **given)
    folder = Path("raw") / str(len(list(Path().glob("raw/*"))))
    folder.mkdir(parents=True)
    return sources.open_source(source, options).read(folder)


def same(given, expected) -> bool:
    return given.samples.select(WHOLE).sort("sample_id").equals(expected.samples.select(WHOLE).sort("sample_id"))


def bytes_here() -> int:
    return sum(seen.st_size for _, seen in remote._fetched())


BUILDS = {"plain": layouts.plain, **{name: build for name, (build, _) in layouts.LAYOUTS.items()}}


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("scheme", ["memory", "http", pytest.param("s3", marks=pytest.mark.slow)])
def test_every_format_elsewhere_holds_the_samples_that_it_holds_here(name, scheme, request, tmp_path, monkeypatch):
    """With a cache that holds a few images at a time, too; a manifest names files by their URLs."""
    address, shown, _ = request.getfixturevalue("served")
    built = BUILDS[name](shown / "in")
    inner = Path(built).relative_to(shown).as_posix()
    if scheme != "http":
        address = request.getfixturevalue("bucket") if scheme == "s3" else "memory://bucket"
        put(shown, address)
    url = f"{address}/{inner}"
    expected = read(str(layouts.plain(tmp_path)))
    delivery = read(url)
    assert delivery.refused.is_empty()
    assert same(delivery, expected)
    if name in ("plain", "image_folder", "shards", "label_studio", "cvat"):
        assert all(path.startswith(url.partition("{")[0].rpartition("/")[0]) for path in delivery.samples["path"])
        assert not any(Path("raw").glob("*/*"))
        shutil.rmtree(remote.CACHE)
        monkeypatch.setattr(remote, "limit", lambda: 12_000 if name == "shards" else 6000)
        assert same(read(url), expected)
        texts = sum(path.stat().st_size for path, _ in remote._fetched() if path.suffix in remote.TEXTS)
        newest = max(seen.st_size for _, seen in remote._fetched())
        assert bytes_here() <= max(remote.limit(), texts + newest)
    wanted = pixels(expected)
    assert all((image == wanted[sample]).all() for sample, image in pixels(delivery).items())
    about = inspect_source(url, project.options_of(url, "core"), "--core")
    assert (about.samples, about.classes) == (12, 3)


def test_what_is_here_is_not_fetched_again_and_what_changed_is(served, monkeypatch):
    address, shown, requests = served
    layouts.plain(shown)
    url = f"{address}/plain"
    before = sources.checksum(url, {})
    assert sum("GET /plain/cat/000.png" in line for line in requests) == 1
    assert sources.checksum(url, {}) == before
    delivery = read(url)
    assert sum("GET /plain/cat/000.png" in line for line in requests) == 1
    monkeypatch.setattr(remote, "limit", lambda: 0)
    remote._fetch(f"{url}/dog/001.png", remote.in_tree(f"{url}/dog/001.png"))  # room is made: all others go
    assert bytes_here() == (shown / "plain" / "dog" / "001.png").stat().st_size
    assert sources.checksum(url, {}) == before  # by what the server says of its files
    assert sum("GET /plain/cat/000.png" in line for line in requests) == 1
    monkeypatch.undo()
    entry = ledger.Batch(source=url, checksum=before, options={})
    sources.open_batch(entry, "core")
    (shown / "plain" / "cat" / "000.png").write_bytes(layouts.png(30))
    os.utime(shown / "plain" / "cat" / "000.png", (2e9, 2e9))
    with pytest.raises(ValueError, match="has changed since it was accepted"):
        sources.open_batch(entry, "core")
    (shown / "plain" / "owl" / "002.png").unlink()
    assert len(read(url).samples) == 11
    assert parts.is_there(delivery.samples["path"][0])
    assert not parts.is_there(f"{url}/owl/002.png")


def test_a_list_elsewhere_names_files_below_its_folder_alone(tmp_path):
    put(layouts.plain(tmp_path), "memory://b/data")
    secret = tmp_path / "secret.png"
    secret.write_bytes(layouts.png(40))
    names = ["cat/000.png", "../../../../../etc/hostname", str(secret), "gone.png"]
    rows = pl.DataFrame({"path": names, "label": ["cat", "dog", "dog", "dog"], "site": ["n"] * 4})
    with fsspec.open("memory://b/data/list.csv", "wb") as file:
        rows.write_csv(file)
    delivery = read("memory://b/data/list.csv")
    assert delivery.samples.select("label", "site").rows() == [("cat", "n")]
    assert sorted(delivery.refused["reason"]) == ["missing file", *["path outside of the delivery"] * 2]


def test_an_archive_elsewhere_is_unpacked_from_the_cache(tmp_path):
    packed = shutil.make_archive(str(tmp_path / "photos"), "zip", layouts.plain(tmp_path))
    fsspec.filesystem("memory").put(packed, "/b/photos.zip")
    delivery = read("memory://b/photos.zip")
    assert same(delivery, read(packed))
    assert sources.checksum("memory://b/photos.zip", {}) == sources.checksum(packed, {})


def test_the_stages_read_what_lies_elsewhere_and_go_on_without_the_cache(tmp_path, monkeypatch):
    """Features through the real stages, equal to the bit, after a run that was cut off and with the cache gone."""
    from diva.store import paths
    from diva.store.features import FeatureFile, FeatureWriter
    from stages.download import download
    from stages.extract import extract
    from tests.ingest.test_formats import _stop
    from tests.projects import ledgers, real_stages

    put(layouts.plain(tmp_path), "memory://b/data")
    real_stages.write_params(extract={"batch_size": 4})
    ledgers.write((str(tmp_path / "plain"), {}), b001=("memory://b/data", {}))
    for batch in ("core", "b001"):
        download(batch)
    with monkeypatch.context() as patch:
        patch.setattr(FeatureWriter, "append", _stop)
        with pytest.raises(KeyboardInterrupt):
            extract("b001")
    shutil.rmtree(remote.CACHE)
    features = {}
    for batch in ("core", "b001"):
        extract(batch)
        stored = FeatureFile(paths.features(batch))
        features[batch] = dict(zip(stored.sample_id, stored.read().tolist(), strict=True))
    assert features["core"] == features["b001"]
    assert len(features["core"]) == 12


def test_a_store_that_fails_stops_the_run_instead_of_setting_its_images_aside(tmp_path, monkeypatch):
    put(layouts.plain(tmp_path), "memory://b/data")
    memory = fsspec.filesystem("memory")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the network is down, token=abcdefghi")

    monkeypatch.setattr(type(memory), "get_file", broken)
    with pytest.raises(ValueError, match=r"memory://b/data/cat/000.png could not be fetched: .*token=\*\*\*"):
        read("memory://b/data")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("memory://b/nothing", r"memory://b/nothing must (hold files|be readable)"),
        ("memory://b/ready.npz", "ready features must lie on this disk"),
        ("s3://user:secret@bucket/x", "must carry no password"),
        ("nosuch://bucket/x", "must be a URL that fsspec reads"),
        ("memory://b/../../x", "must stay within their folder"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(source, said):
    with pytest.raises(ValueError, match=said) as raised:
        read(source)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(("scheme", "driver"), [("s3", "s3fs"), ("gs", "gcsfs"), ("az", "adlfs")])
def test_a_driver_that_is_missing_is_named_with_its_extra(scheme, driver):
    if importlib.util.find_spec(driver):
        pytest.skip(f"{driver} is installed")
    with pytest.raises(
        ValueError, match=rf"^The driver of {scheme}:// must be installed, got none: pip install 'diva-curation\["
    ):
        read(f"{scheme}://bucket/x")


def test_tables_larger_than_the_limit_are_refused(tmp_path, monkeypatch):
    put(layouts.shards(tmp_path) and tmp_path / "shards", "memory://b/data")
    monkeypatch.setattr(remote, "TEXTS", (".tar",))
    monkeypatch.setattr(remote, "limit", lambda: 100)
    with pytest.raises(ValueError, match=r"must be at most 100 bytes, got .*DIVA_CACHE_BYTES"):
        read("memory://b/data")
