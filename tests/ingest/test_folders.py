"""Layouts of folders and archives that people deliver: where classes begin, and what is no sample."""

import shutil
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from diva.ingest import folders, inspection, project, sources
from diva.store import manifest


def png(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade % 256, shade // 256, 0)).save(path)
    return path


def album(root: Path, *classes: str, each: int = 2, start: int = 0) -> Path:
    for number in range(each * len(classes)):
        png(root / classes[number % len(classes)] / f"{number}.png", start + number)
    return root


def labels(source: Path, tmp_path: Path) -> dict[str, int]:
    folder = tmp_path / "unpacked"
    folder.mkdir()
    samples = sources.open_source(str(source), {}).read(folder).samples
    return dict(samples.group_by("label").len().sort("label").iter_rows())


@pytest.mark.parametrize(
    "parts", [("train", "val"), ("Train", "Test"), ("training", "validation", "testing"), ("train",)]
)
def test_folders_of_splits_are_no_classes(parts, tmp_path):
    for number, part in enumerate(parts):
        album(tmp_path / "photos" / part, "cat", "dog", start=50 * number)
    (tmp_path / "photos" / "README.md").write_text("Photos.")
    assert labels(tmp_path / "photos", tmp_path) == {"cat": 2 * len(parts), "dog": 2 * len(parts)}
    (note,) = inspection.inspect_source(str(tmp_path / "photos"), {}, "--core").notes
    assert f"--core {tmp_path}/photos/{parts[0]}" in note
    assert f"parts of one data set, {', '.join(sorted(parts))}" in note


def test_splits_in_an_archive_and_archives_in_a_folder_are_said(tmp_path):
    for number, part in enumerate(("train", "valid")):
        album(tmp_path / "packed" / "archive" / part, "cat", "dog", start=50 * number)
    file = shutil.make_archive(str(tmp_path / "photos"), "zip", tmp_path / "packed")
    (note,) = inspection.inspect_source(file, {}, "--core").notes
    assert "parts of one data set, train, valid" in note
    assert "unpack it: --core FOLDER/train --test FOLDER/valid" in note
    (tmp_path / "zips").mkdir()
    shutil.move(file, tmp_path / "zips" / "cat.zip")
    with pytest.raises(ValueError, match=r"the first: cat.zip: archive in a folder. Unpack it"):
        inspection.inspect_source(str(tmp_path / "zips"), {}, "--core")


def test_classes_that_differ_in_case_are_said(tmp_path):
    notes = " ".join(inspection.inspect_source(str(album(tmp_path / "p", "Cat", "dog", "cat ")), {}, "--core").notes)
    assert "the classes 'Cat' and 'cat' count as two" in notes


@pytest.mark.parametrize("classes", [("train", "ship"), ("train", "test")])
def test_classes_that_are_called_like_splits_stay_classes(classes, tmp_path):
    assert set(labels(album(tmp_path / "photos", *classes), tmp_path)) == set(classes)


def test_folders_that_lie_below_each_class_are_said(tmp_path):
    for number, source in enumerate(("labelled", "scraped")):
        album(tmp_path / "photos" / source, "cat", "dog", start=50 * number)
    (note,) = inspection.inspect_source(str(tmp_path / "photos"), {}, "--core").notes
    assert "the classes are labelled, scraped, but the same folders lie below each: cat, dog" in note
    with pytest.raises(ValueError, match=r"two classes, got one, animals\..*such as .*photos/animals"):
        project.gather(str(album(tmp_path / "nested" / "photos" / "animals", "cat", "dog").parent), [], "none")


def test_a_folder_of_classes_beside_one_of_images_is_said(tmp_path):
    album(tmp_path / "ds" / "Train", "red", "green")
    album(tmp_path / "ds", "Unlabelled", start=90)
    (note,) = inspection.inspect_source(str(tmp_path / "ds"), {}, "--core").notes
    assert f"--core {tmp_path}/ds/Train --pool {tmp_path}/ds/Unlabelled" in note
    (tmp_path / "ds/Train/loose.png").write_bytes((tmp_path / "ds/Unlabelled").glob("*.png").__next__().read_bytes())
    assert not inspection.inspect_source(str(tmp_path / "ds"), {}, "--core").notes


def test_what_desktops_and_disk_stations_leave_is_no_sample(tmp_path):
    root = album(tmp_path / "photos", "cat", "dog")
    before = sources.open_source(str(root), {}).checksum()
    png(root / "cat" / "@eaDir" / "0.png" / "SYNOPHOTO_THUMB_S.png", 99)
    (root / "cat" / "Thumbs.db").write_bytes(b"\xd0\xcf")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "x.png").write_bytes(b"\0\5\26\7")
    brought = sources.open_source(str(root), {}).read(tmp_path)
    assert len(brought.samples) == 4
    assert manifest.kinds(brought.refused) == {"system file": 3}
    assert sources.open_source(str(root), {}).checksum() != before, "they are still part of what was delivered"


def test_a_shortcut_in_place_of_a_class_is_said(tmp_path):
    root = album(tmp_path / "photos", "cat", "dog")
    (root / "bird.lnk").write_bytes(b"L\0\0\0")
    (root / "cat" / "dog.lnk").write_bytes(b"L\0\0\0")
    (note,) = inspection.inspect_source(str(root), {}, "--core").notes
    assert "1 of 6 files cannot be used; the first: bird.lnk: shortcut: it holds the place of a folder alone" in note


def test_a_list_without_its_images_is_said_by_the_name_of_its_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "list.zip", "w") as file:
        file.writestr("labels.csv", "path,label\n0.png,cat\n1.png,dog\n")
    with pytest.raises(ValueError, match=r"got none in 2 .* the first: .*/list.zip/[01].png: missing file") as raised:
        inspection.inspect_source(str(tmp_path / "list.zip"), {}, "--core")
    assert "diva-" not in str(raised.value)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (("photos/{}", "__MACOSX/photos/._x", "photos/.DS_Store", "README.txt"), {"cat": 2, "dog": 2}),
        (("data/photos/{}", "data/README.md"), {"cat": 2, "dog": 2}),
        (("photos/train/{}", "LICENSE"), {"cat": 2, "dog": 2}),
        (("{}", "__MACOSX/._cat", "index.html"), {"cat": 2, "dog": 2}),
    ],
)
def test_classes_of_an_archive_begin_below_its_single_folders(members, expected, tmp_path):
    album(tmp_path / "photos", "cat", "dog")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        for path in sorted((tmp_path / "photos").rglob("*.png")):
            file.write(path, members[0].format(path.relative_to(tmp_path / "photos").as_posix()))
        for name in members[1:]:
            file.writestr(name, "x")
    assert labels(tmp_path / "photos.zip", tmp_path) == expected


def test_a_class_alone_in_an_archive_is_a_class(tmp_path):
    root = album(tmp_path / "a" / "photos", "cat")
    assert folders.root_of(tmp_path / "a") == root


def test_links_out_of_a_folder_say_what_to_do(tmp_path):
    album(tmp_path / "cache", "x", each=4)
    for number, image in enumerate(sorted((tmp_path / "cache").rglob("*.png"))):
        (tmp_path / "photos" / "cat").mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / "cat" / f"{number}.png").symlink_to(image)
    with pytest.raises(ValueError, match=r"none \(4 files set aside; the first: cat/0\.png: link out.*in a list"):
        project.gather(str(tmp_path / "photos"), [], "none")


def test_classes_that_are_foreign_to_the_core_are_said_before_anything_runs(tmp_path):
    core = str(album(tmp_path / "core", "cat", "dog"))
    some, none = album(tmp_path / "some", "cat", "wolf", start=100), album(tmp_path / "none", "Cat", "Dog", start=200)
    (note,) = project.gather(core, [str(some)], "none")["b001"].notes
    assert "2 of 4 samples have classes the core lacks, wolf" in note
    assert project.gather(core, [str(some)], "none", new_classes=True)["b001"].notes == ()
    with pytest.raises(
        ValueError, match=r"--pool: .*must hold samples of the core's classes, cat, dog, got only others: Cat, Dog"
    ):
        project.gather(core, [str(none)], "none")
    assert "cannot be judged" in project.gather(core, [], str(some))["test"].notes[0]


def test_files_beside_each_image_hide_no_image(tmp_path):
    """A phone leaves a film and a list of edits beside each photo: those in every third place are no sample of all."""
    for number in range(36):
        picture = png(tmp_path / "photos" / "ab"[number % 2] / f"IMG_{number:04}.JPG", number)
        for suffix in (".AAE", ".MOV"):
            picture.with_suffix(suffix).write_text("no image")
    (note,) = inspection.inspect_source(str(tmp_path / "photos"), {}, "--core").notes
    assert "of 16 files that were opened cannot be used; the first:" in note


def test_a_part_among_the_classes_is_moved_out() -> None:
    names = [f"{name}/{number}.png" for name in ("cat", "dog", "test/cat", "test/dog") for number in range(3)]
    (said,) = folders.layout_notes("photos", names)
    assert said.endswith("is a part of the data: move it out of photos, then --core photos --test test.")
