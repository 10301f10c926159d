"""Lists as spreadsheets, pandas and people write them: read, or refused with the line and the remedy."""

from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from diva.ingest import annotations, inspection, listings, project, sources

ROWS = [("img/0.png", "cat"), ("img/1.png", "dog"), ("img/2.png", "Käse"), ("img/3.png", "cat, or so")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "img").mkdir()
    for number in range(4):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "img" / f"{number}.png")
    return tmp_path


def text(separator: str = ",", end: str = "\n", header: str = "path,label") -> str:
    quoted = [[f'"{cell}"' if separator in cell else cell for cell in row] for row in ROWS]
    return end.join(separator.join(row) for row in (header.split(","), *quoted)) + end


@pytest.mark.parametrize(
    "content",
    [
        *(text(separator).encode() for separator in ",;\t|"),
        text(end="\r\n").encode("utf-8-sig"),
        text(end="\r").encode(),
        text(";").encode("utf-16"),
        ("sep=;\n" + text(";")).encode(),
        text(header="Path, Label ").encode(),
        text().replace(",", ", ", 4).encode(),
        text().replace("\n", ",\n").encode(),
        ("\n" + text()).encode(),
        ("# exported 2026-03-01\n" + text()).encode(),
        text().replace("img/1", "img\\1").encode(),
    ],
)
def test_a_list_is_read_however_it_is_written(content, folder):
    (folder / "list.csv").write_bytes(content)
    listed = listings.images_of(folder / "list.csv")
    assert [(entry.path, entry.label) for entry in listed] == [(folder / name, label) for name, label in ROWS]


@pytest.mark.parametrize("name", ["list.tsv", "list.txt"])
def test_texts_are_lists_whatever_they_end_in(name, folder):
    (folder / name).write_text(text("\t"))
    listed = sources.open_source(str(folder / name), {}).listed
    assert [(entry.path, entry.label) for entry in listed] == [(folder / name, label) for name, label in ROWS]
    (answer, *_) = annotations.read(folder / name)
    assert answer.label == ROWS[0][1]


def test_paths_of_windows_machines_are_not_taken_for_relative(folder):
    names = ["C:\\Users\\a\\0.png", "d:/b.png", "\\\\server\\share\\0.png", "file:///C:/a.png"]
    (folder / "list.csv").write_text("path,label\n" + "".join(f"{name},cat\n" for name in names))
    assert {entry.fault.reason for entry in listings.images_of(folder / "list.csv")} == {"path of a Windows machine"}


def test_a_folder_with_a_list_names_the_list(folder):
    (folder / "labels.csv").write_text(text(header="filename,label"))
    with pytest.raises(ValueError, match=rf"A list lies there: name it instead, {folder}/labels.csv --columns path=fi"):
        project.gather(str(folder), [], "none")


def test_columns_that_are_not_kept_are_said(folder):
    frame = pl.DataFrame({"path": [name for name, _ in ROWS], "label": [label for _, label in ROWS], "weight": 0.5})
    frame.with_columns(boxes=pl.lit([1, 2], pl.List(pl.Int64))).write_parquet(folder / "list.parquet")
    notes = " ".join(inspection.inspect_source(str(folder / "list.parquet"), {}, "--core").notes)
    assert "columns boxes are left out (lists, records or bytes)" in notes
    assert "columns weight as weight_ are kept so" in notes


def test_a_list_may_name_files_by_url(folder):
    (folder / "list.csv").write_text(f"path,label\nfile://{folder}/img/0.png,cat\nhttps://a.example/1.png,dog\n")
    first, second = listings.images_of(folder / "list.csv")
    assert first.path == folder / "img" / "0.png"
    assert "address on the network" in second.fault.reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            text().replace("1.png,dog", "1.png,dog,why"),
            r"line 3: a row must have 2 cells, as the header has, got 3; quote .*row.names",
        ),
        (text().replace("1.png,dog", '1.png,"dog'), r"line 3: .*quote cells"),
        (text().encode("latin-1"), r"UTF-8, got the byte 0xe4 in line 4; save it as UTF-8"),
        ("path,label,label\n", "columns path and label"),
        (text(header="image,label"), "got image, label; is image meant. --columns path=image,label=label"),
        (text(header="file_name,class"), "is file_name and class meant. --columns path=file_name,label=class"),
        ("\n\n", "got nothing"),
    ],
)
def test_a_list_that_cannot_be_read_names_line_and_remedy(content, message, folder):
    (folder / "list.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"list\.csv must .*{message}"):
        listings.images_of(folder / "list.csv")


def test_columns_of_other_names_are_an_option(folder):
    (folder / "list.csv").write_text(text(header="Image,Class"))
    options = {"columns": {"path": "image", "label": "class"}}
    brought = sources.open_source(str(folder / "list.csv"), options).read(folder)
    assert len(brought.samples) == 4
    with pytest.raises(ValueError, match=r"options of .* must be columns"):
        sources.open_source(str(folder / "list.csv"), {"columns": {"name": "x"}})


def test_capitals_of_a_parquet_header_lose_no_label_and_a_list_of_paths_alone_may_name_them(folder):
    rows = {"Path": [name for name, _ in ROWS], "Label": [label for _, label in ROWS], "Site": ["n"] * 4}
    pl.DataFrame(rows).write_parquet(folder / "list.parquet")
    brought = sources.open_source(str(folder / "list.parquet"), {}, unlabelled=True).read(folder)
    assert brought.samples["label"].to_list() == [label for _, label in ROWS]
    assert brought.samples["Site"].to_list() == ["n"] * 4
    assert not {"Label", "label_"} & {*brought.samples.columns}
    for options in ({"path": "Path"}, {"path": "Path", "label": "Label"}):
        listed = listings.images_of(folder / "list.parquet", options)
        assert [entry.label for entry in listed] == [label for _, label in ROWS]
    (folder / "list.csv").write_text("image\nimg/0.png\n")
    (entry,) = listings.images_of(folder / "list.csv", {"path": "image"}, unlabelled=True)
    assert (entry.path, entry.label) == (folder / "img/0.png", None)
    with pytest.raises(ValueError, match="must have the columns image and label, got image"):
        listings.images_of(folder / "list.csv", {"path": "image"})


def test_files_that_are_missing_are_said_before_anything_runs(folder):
    (folder / "list.csv").write_text(text().replace("img/", f"{folder.name}/img/"))
    with pytest.raises(
        ValueError, match=rf"--core: .*got none in 4 .*missing file.*start at the list's folder, {folder}"
    ):
        project.gather(str(folder / "list.csv"), [], "none")
    (folder / "list.csv").write_text(text() + "img/9.png,cat\n")
    (note,) = inspection.inspect_source(str(folder / "list.csv"), {}, "--core").notes
    assert "1 of 5 files that were opened cannot be used; the first:" in note


@pytest.mark.parametrize(
    "content",
    [
        "path,annotator_ann,annotator_bob\nimg/0.png,Cat,cat\nimg/1.png,dog,dog\n",
        "path,annotator,label\nimg/0.png,ann,Cat\nimg/0.png,bob,cat\nimg/1.png,ann,dog\n",
    ],
)
def test_capitals_in_which_annotators_differ_are_said_beside_the_votes(folder: Path, content: str) -> None:
    (folder / "list.csv").write_text(content)
    about = inspection.inspect_source(str(folder / "list.csv"), {}, "--core")
    assert set(about.labels) == {"Cat", "dog"}
    assert any("the classes 'Cat' and 'cat' count as two" in note for note in about.notes)
