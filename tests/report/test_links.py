from pathlib import Path

from diva.report import links
from diva.store import ledger


def test_only_files_within_the_data_or_a_delivery_are_linked(tmp_path, monkeypatch) -> None:
    inside, photos = tmp_path / "project", tmp_path / "photos"
    for folder in (inside / "data", photos / "cat"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(inside)
    book = ledger.start(ledger.Batch(source="../photos", checksum="none", options={}))
    names = [
        "data/raw/core/1.png", "../photos/cat/1.png", str(photos / "cat" / "2.png"),
        "data/../../secret.png", "../../etc/passwd", "/etc/passwd", "data/raw/../../../photos2/1.png", "",
    ]  # fmt: skip
    assert links.within(names, links.roots(book)) == [True, True, True, False, False, False, False, False]


def test_a_list_links_its_own_folder_and_folders_of_images_whose_content_was_checked(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "core.csv").touch()
    book = ledger.start(ledger.Batch(source="lists/core.csv", checksum="none", options={}))
    names = ["lists/1.png", "/elsewhere/a/1.png", "/elsewhere/b/1.png"]
    assert links.within(names, links.roots(book)) == [True, False, False]
    checked = links.folders_of(["/elsewhere/a/2.png"])
    assert checked == (Path("/elsewhere/a"),)
    assert links.within(names, (*links.roots(book), *checked)) == [True, True, False]
