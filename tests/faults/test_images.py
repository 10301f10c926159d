"""Faults of image files: each is set aside with reason and remedy, or read as a person sees it; the rest is untouched."""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from PIL import Image

from diva.ingest import images
from diva.store import manifest, paths
from diva.vision import datasets
from tests.faults.case import SET_ASIDE, UNHARMED, Case
from tests.faults.conftest import GOOD, Undisturbed
from tests.projects import real_stages as project

ALBUM = Path("photos")
NOBODY = 65534


def bad(name: str, what: str, plant: Callable[[], Path | None], kind: str) -> object:
    """A file that must be set aside, for a reason of this kind."""
    return Case(name, "images", what, SET_ASIDE).param(plant, kind)


def cut(suffix: str, share: float = 0.5) -> Callable[[], Path]:
    def plant() -> Path:
        path = ALBUM / "cat" / f"cut{suffix}"
        Image.fromarray(project.pixels(1, "cat", (60, 60))).save(path)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        return path

    return plant


def written(name: str, content: bytes) -> Callable[[], Path]:
    def plant() -> Path:
        path = ALBUM / "cat" / name
        path.write_bytes(content)
        return path

    return plant


def linked(name: str, target: str) -> Callable[[], Path]:
    def plant() -> Path:
        path = ALBUM / "cat" / name
        path.symlink_to(target)
        return path

    return plant


def piped() -> Path:
    os.mkfifo(ALBUM / "cat" / "pipe.png")
    return ALBUM / "cat" / "pipe.png"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *more: bytes, bits: int = 1) -> bytes:
    """A grey PNG written by hand: as large as its header says, a few kilobytes on disk."""
    packer, row = zlib.compressobj(1), b"\0" * (1 + (width * bits + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bomb() -> Path:
    project.write_params(download={"max_pixels": 1 << 26})  # as shipped
    return written("bomb.png", png(20_000, 20_000))()


def text_bomb() -> Path:
    text = b"Comment\0\0" + zlib.compress(b"a" * 60_000_000, 1)
    return written("text.png", png(12, 12, chunk(b"zTXt", text), bits=8))()


def not_utf8() -> Path | None:
    path = ALBUM / os.fsdecode(b"cat/\xff\xfe.png")
    try:
        path.write_bytes(b"x")
    except OSError:
        return None
    return path


PLANTED = [
    bad("truncated JPEG", "a JPEG cut after half of its bytes", cut(".jpg"), "damaged image"),
    bad("truncated PNG", "a PNG cut after half of its bytes", cut(".png"), "damaged image"),
    bad("truncated header", "a PNG of which only 30 bytes are there", cut(".png", 0.003), "damaged image"),
    bad("zero bytes", "an empty file", written("empty.png", b""), "zero bytes"),
    bad("a text file", "text under the name of an image", written("notes.png", b"not an image\n"), "not an image"),
    bad("PostScript", "a format that programs are written in", written("a.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not an image"),
    bad("SVG", "a drawing that may name other files", written("a.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "not an image"),
    bad("20,000 × 20,000", "a bomb: 80 kB that unpack to 400 megapixels", bomb, "more than 67108864 pixels"),
    bad("a strip", "1 × 40,000 pixels: small, until its shorter side is scaled up", written("strip.png", png(40_000, 1)), "too narrow"),
    bad("a bomb of text", "60 MB of comment in a PNG of 60 kB", text_bomb, "damaged image"),
    bad("a FIFO", "a named pipe, on which a reader waits for ever", piped, "not a file"),
    bad("a broken link", "a link to nothing", linked("broken.png", "nowhere.png"), "missing file"),
    bad("a link to itself", "a loop of links", linked("loop.png", "loop.png"), "missing file"),
    bad("a link out of the folder", "a link to an image elsewhere", linked("out.png", "../../core/cat/000.png"), "link out of the folder"),
    bad("a link to a device", "a link to /dev/zero, which never ends", linked("zero.png", "/dev/zero"), "link out of the folder"),
    bad("a link to a folder", "a link to another class", linked("dogs", "../dog"), "link to a folder"),
    bad("a name that is not UTF-8", "bytes that are no text in the name", not_utf8, "name is not UTF-8"),
    bad("no class folder", "an image beside the class folders", lambda: project.photograph(ALBUM / "stray.png", 1, "cat"), "no class folder"),
]  # fmt: skip


def check_set_aside(calm: pl.DataFrame, batch: str, path: Path, kind: str) -> None:
    """The file is in quarantine with reason and remedy, nothing else is, and the sets are those without it."""
    refused = project.quarantine(batch)
    assert [Path(name).name for name in refused["path"]] == [images._printable(path.name)]
    assert refused["reason"][0].startswith(kind)
    assert refused["remedy"][0].endswith(".")
    project.night("more")
    assert project.same(project.released(), calm)


@pytest.mark.parametrize(("fault", "plant", "kind"), PLANTED)
def test_a_file_that_is_no_usable_image_is_set_aside_and_changes_nothing(
    album: Undisturbed, fault: Case, plant: Callable[[], Path | None], kind: str
) -> None:
    path = plant()
    if path is None:
        pytest.skip("this file system takes UTF-8 names only")
    check_set_aside(album.released, project.half_night(ALBUM), path, kind)


@Case(
    "a file of the kernel", "images", "a list that names one: no size, and content, which may never end", SET_ASIDE
).test
def test_a_file_of_the_kernel_is_never_read(album: Undisturbed) -> None:
    endless = Path("/proc/kmsg")
    if not endless.is_file():
        pytest.skip("only Linux has such files")
    good = [f"{path.as_posix()},{path.parent.name}\n" for path in sorted(ALBUM.rglob("*.png"))]
    Path("photos.csv").write_text("".join(["path,label\n", *good, f"{endless},cat\n"]))
    refused = project.quarantine(project.half_night("photos.csv"))
    assert refused.select("path", "reason").rows() == [(endless.as_posix(), "zero bytes")]
    project.night("more")
    assert project.alike(project.released(), album.released)


@contextmanager
def unprivileged(root: Path) -> Iterator[None]:
    """Without root's rights, to whom every file is readable: as nobody, who owns the project."""
    if os.geteuid():
        yield
        return
    for path in (root, *root.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


CLOSED = [
    Case("no permission", "images", "a file that may not be read", SET_ASIDE).param("cat/closed.png", "not readable"),
    Case("a closed folder", "images", "a class folder that may not be read", SET_ASIDE).param("closed", "folder not readable"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "name", "kind"), CLOSED)
def test_what_may_not_be_read_is_set_aside(album: Undisturbed, fault: Case, name: str, kind: str) -> None:
    path = ALBUM / name
    path.mkdir() if not path.suffix else project.photograph(path, 1, "cat")
    path.chmod(0)
    try:
        with unprivileged(album.root):
            check_set_aside(album.released, project.half_night(ALBUM), path, kind)
    finally:
        path.chmod(0o755)


def extra() -> Path:
    """One more good image, to which something happens during the run."""
    return project.photograph(ALBUM / "cat" / "extra.png", 1, "cat")


@Case("deleted while it is hashed", "images", "gone between its checksum and its header", SET_ASIDE).test
def test_an_image_that_goes_during_download_is_set_aside(album: Undisturbed, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, batch, header = extra(), project.accept(ALBUM), images.header

    def read(path: Path) -> object:
        gone.unlink(missing_ok=True)
        return header(path)

    monkeypatch.setattr(images, "header", read)
    project.run_round()
    check_set_aside(album.released, batch, gone, "missing file")


def into_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DURING = [
    Case("deleted during the run", "images", "gone while the network reads others", SET_ASIDE).param(Path.unlink, "missing file"),
    Case("emptied during the run", "images", "cut to nothing after it was accepted", SET_ASIDE).param(lambda path: path.write_bytes(b""), "changed file"),
    Case("changed during the run", "images", "another image under the same name", SET_ASIDE).param(lambda path: project.photograph(path, 2, "dog"), "changed file"),
    Case("a FIFO in its place", "images", "a named pipe put there after it was accepted", SET_ASIDE).param(into_pipe, "not a file"),
    Case("a folder in its place", "images", "a folder put there after it was accepted", SET_ASIDE).param(into_folder, "not a file"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "spoil", "kind"), DURING)
def test_what_happens_to_an_image_while_others_are_read_is_told(
    album: Undisturbed, fault: Case, spoil: Callable[[Path], object], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, batch, read = extra(), project.accept(ALBUM), datasets.read_bytes

    def late(name: str, *options: object) -> object:
        if Path(name) == path:
            spoil(path)
        return read(name, *options)

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "read_bytes", late)
        project.run_round()
    check_set_aside(album.released, batch, path, kind)


def half(image: Image.Image) -> np.ndarray:
    """Pixels over white, as a person sees them."""
    shown = image.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB"))


def cmyk(pixels: np.ndarray, path: Path) -> np.ndarray:
    image = Image.fromarray(255 - pixels).convert("RGB")
    inks = Image.merge("CMYK", (*image.split(), Image.new("L", image.size, 0)))
    inks.save(path.with_suffix(".tif"))
    return pixels


def deep(pixels: np.ndarray, path: Path) -> np.ndarray:
    grey = pixels[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(path.with_suffix(".png"))
    return np.repeat(grey[..., None], 3, 2)


def palette(pixels: np.ndarray, path: Path) -> np.ndarray:
    image = Image.fromarray(pixels).quantize(16)
    image.save(path.with_suffix(".png"), transparency=bytes([0, 90, *[255] * 14]))
    with Image.open(path.with_suffix(".png")) as again:
        return half(again)


def animated(pixels: np.ndarray, path: Path) -> np.ndarray:
    first, other = Image.fromarray(pixels).quantize(200), Image.new("RGB", (14, 12), "red").quantize(200)
    first.save(path.with_suffix(".gif"), save_all=True, append_images=[other] * 3, duration=10)
    return np.asarray(first.convert("RGB"))


def turned(pixels: np.ndarray, path: Path) -> np.ndarray:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn a quarter clockwise
    Image.fromarray(np.rot90(pixels).copy()).save(path.with_suffix(".png"), exif=exif)
    return pixels


def point(pixels: np.ndarray, path: Path) -> np.ndarray:
    Image.fromarray(pixels[:1, :1]).save(path.with_suffix(".bmp"))
    return pixels[:1, :1]


def misnamed(pixels: np.ndarray, path: Path) -> np.ndarray:
    Image.fromarray(pixels).save(path.with_suffix(".bmp"))
    path.with_suffix(".bmp").rename(path.with_suffix(".jpg"))
    return pixels


def with_alpha(pixels: np.ndarray, path: Path) -> np.ndarray:
    grey = Image.fromarray(pixels[..., 0])
    image = Image.merge("LA", (grey, Image.fromarray(pixels[..., 1])))
    image.save(path.with_suffix(".png"))
    return half(image)


def odd(name: str, what: str, save: Callable[[np.ndarray, Path], np.ndarray]) -> object:
    """An image that is read as a person sees it; ``save`` returns that."""
    return Case(name, "images", what, UNHARMED).param(save)


ODD = [
    odd("CMYK", "an image in four inks", cmyk),
    odd("16-bit", "65,536 shades of grey", deep),
    odd("palette with alpha", "16 colours, two of them see-through", palette),
    odd("grey with alpha", "a grey image with a mask", with_alpha),
    odd("animated", "a GIF of four frames: the first counts", animated),
    odd("EXIF-rotated", "a camera's note that the image lies on its side", turned),
    odd("1×1", "a single pixel", point),
    odd("wrong extension", "a BMP called .jpg: the content counts", misnamed),
]


@pytest.mark.parametrize(("fault", "save"), ODD)
def test_an_unusual_image_gives_the_features_of_what_a_person_sees(
    album: Undisturbed, fault: Case, save: Callable[[np.ndarray, Path], np.ndarray]
) -> None:
    twin = save(project.pixels(777, "dog"), ALBUM / "dog" / "odd")
    plain = Path("plain", "dog", "plain.png")
    plain.parent.mkdir(parents=True)
    Image.fromarray(twin).save(plain)
    batch = project.half_night(ALBUM)
    assert project.quarantine(batch).is_empty()
    features = by_name(batch)
    odd_one = next(name for name in features if name.startswith("odd"))
    project.night("more")
    assert len(project.released()) == len(album.released)
    other = project.half_night("plain")
    assert project.quarantine(other)["reason"].to_list() == [f"already delivered: in {batch}"]  # equal pixels
    np.testing.assert_allclose(features.pop(odd_one), by_name(other).pop("plain.png"), rtol=1e-5, atol=1e-6)
    assert sorted(features) == [f"{seed}.png" for seed in GOOD]


def by_name(batch: str) -> dict[str, np.ndarray]:
    """Features of a batch by the name of the image."""
    names = {row["sample_id"]: Path(row["path"]).name for row in manifest.read(paths.manifest(batch)).to_dicts()}
    with h5py.File(paths.features(batch)) as file:
        return {names[key.decode()]: row for key, row in zip(file["sample_id"][:], file["features"][:], strict=True)}


def name(title: str, what: str, *changes: tuple[str, str]) -> object:
    """Good images under other names."""
    return Case(title, "images", what, UNHARMED).param(dict(changes))


NAMES = [
    name("a newline in a name", "two lines where one is expected", ("cat/102.png", "cat/1\n02.png"), ("cat/105.png", "cat/\r5\t.png")),
    name("an emoji in a name", "a character beyond the first plane", ("cat/102.png", "cat/\N{CAT FACE}.png")),
    name("right-to-left text in a name", "Hebrew, Arabic, and the mark that turns the direction", ("cat/102.png", "cat/\u05d7\u05ea\u05d5\u05dc.png"), ("owl/101.png", "owl/\u202egnp.png")),
    name("names that differ only in case", "A.png and a.png", ("cat/102.png", "cat/A.png"), ("cat/105.png", "cat/a.png")),
    name("a name that looks like a pattern", "brackets, stars and hashes", ("cat/102.png", "cat/[0-9]*#{}.png"), ("dog/103.png", "dog/%s%d\\.png")),
    name("a name that colours a terminal", "an escape sequence", ("cat/102.png", "cat/\x1b[31m.png")),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "changes"), NAMES)
def test_a_strange_name_changes_nothing_but_the_path(album: Undisturbed, fault: Case, changes: dict[str, str]) -> None:
    for old, new in changes.items():
        (ALBUM / old).rename(ALBUM / new)
    batch = project.half_night(ALBUM)
    assert project.quarantine(batch).is_empty()
    named = set(manifest.read(paths.manifest(batch))["path"])
    assert {str(ALBUM / new) for new in changes.values()} <= named
    assert all(Path(path).is_file() for path in named)
    project.night("more")
    assert project.alike(project.released(), album.released)
