"""Manifests: each content once, a core that leave-one-out can work on, equal bytes for equal frames."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diva.store import manifest, tables
from diva.store.manifest import Delivery, Refused, Sample

TRUTH = tables.empty(manifest.TRUTH)


def delivery(labels: list[str], refused: list[Refused] | None = None) -> Delivery:
    rows = [Sample(f"{number:032x}", f"{number}.png", label, 8, 8) for number, label in enumerate(labels)]
    return Delivery(manifest.samples(rows), manifest.refusals(refused or []), TRUTH)


def test_equal_frames_give_equal_bytes(tmp_path: Path) -> None:
    frame = delivery(["a", "b"] * 500).samples
    for name in ("one", "two"):
        manifest.write(tmp_path / name / "m.parquet", pl.concat([frame[:300], frame[300:]]))
    one, two = (tmp_path / name / "m.parquet" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert manifest.checksum(one) == manifest.checksum(two)
    assert manifest.read(one).equals(frame)
    assert [path.name for path in one.parent.iterdir()] == ["m.parquet"]


def test_a_table_with_other_columns_is_refused_by_name(tmp_path: Path) -> None:
    pl.DataFrame({"sample_id": ["x"], "lable": ["a"]}).write_parquet(tmp_path / "m.parquet")
    with pytest.raises(ValueError, match=r"m\.parquet must have the columns .* unknown \['lable'\]"):
        manifest.read(tmp_path / "m.parquet")


@pytest.mark.parametrize(("content", "message"), [(None, "must exist"), (b"PAR1 cut", "readable parquet")])
def test_a_table_that_is_none_says_so(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "m.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        manifest.read(tmp_path / "m.parquet")


def test_of_equal_contents_the_first_stays_and_a_conflict_is_named() -> None:
    rows = [
        Sample("s", "a/1.png", "a"),
        Sample("t", "a/2.png", "a"),
        Sample("s", "a/3.png", "a"),
        Sample("s", "b/4.png", "b"),
    ]
    kept, refused = manifest.distinct(rows)
    assert [sample.path for sample in kept] == ["a/1.png", "a/2.png"]
    assert [row.reason.split(":")[0] for row in refused] == ["same content", "same content under another label"]
    assert "a/1.png" in refused[1].reason
    assert "'a'" in refused[1].reason


@given(st.lists(st.tuples(st.sampled_from("stuv"), st.sampled_from("ab"))))
def test_no_row_is_lost_between_samples_and_quarantine(rows: list[tuple[str, str]]) -> None:
    kept, refused = manifest.distinct(Sample(name, f"{number}", label) for number, (name, label) in enumerate(rows))
    assert len({sample.sample_id for sample in kept}) == len(kept)
    assert sorted(int(row.path) for row in (*kept, *refused)) == list(range(len(rows)))


def test_a_class_of_one_sample_leaves_the_core_with_the_reason() -> None:
    core = manifest.for_core(delivery(["a", "a", "b", "b", "c"]))
    assert core.samples["label"].to_list() == ["a", "a", "b", "b"]
    assert manifest.kinds(core.refused) == {"class of one sample": 1}
    assert core.refused["label"].to_list() == ["c"]


@pytest.mark.parametrize("labels", [["a", "a", "a"], ["a", "a", "b"], ["a", "b"]])
def test_a_core_of_one_class_is_an_error(labels: list[str]) -> None:
    with pytest.raises(ValueError, match=r"batches\.core\.source must hold at least two classes with two samples each"):
        manifest.for_core(delivery(labels))


def test_a_core_without_samples_says_what_was_set_aside() -> None:
    refused = [Refused(None, "a/broken.png", "a", "zero bytes", "Copy the file again.")]
    with pytest.raises(
        ValueError, match=r"usable samples, got none \(set aside: 1 zero bytes; the first: a/broken\.png"
    ):
        manifest.for_core(delivery([], refused))


def test_no_label_of_a_contested_content_wins_in_the_core() -> None:
    rows = [Sample(f"{label}{number}", f"{label}/{number}", label) for label in "az" for number in range(3)]
    copies = [Sample("z0", "a/copy", "a")]
    unique, refused = manifest.distinct([*copies, *rows])
    brought = manifest.Delivery(manifest.samples(unique), manifest.refusals(refused), tables.empty(manifest.TRUTH))
    core = manifest.for_core(brought)
    assert core.samples["sample_id"].to_list() == ["a0", "a1", "a2", "z1", "z2"]
    assert set(core.refused.select("path", "reason").iter_rows()) == {
        ("a/copy", "same content under another label: as z/0, which is labelled 'z'"),
        ("z/0", "same content under another label: as a/copy, which is labelled 'a'"),
    }


def test_images_take_their_group_from_their_path_unless_a_list_names_one(caplog):
    rows = [Sample("s", "x/a/p7/1.png", "a", 1, 1), Sample("t", "x/a/p7/2.png", "a", 1, 1, group="given")]
    frame = manifest.samples([*rows, Sample("u", "ready.npz", "a", row=0)])
    assert manifest.grouped(frame, None)["group"].to_list() == [None, "given", None]
    assert manifest.grouped(frame, "parent")["group"].to_list() == ["p7", "given", None]
    assert manifest.grouped(frame, r"/p(\d+)/")["group"].to_list() == ["7", "given", None]
    assert not caplog.text
    assert manifest.grouped(frame[::2], "patient")["group"].null_count() == 2
    assert "group_by 'patient' names no group in any path, such as x/a/p7/1.png" in caplog.text
    with pytest.raises(ValueError, match="group_by must be parent or a regular expression on paths"):
        manifest.grouped(frame, "(")


def test_the_column_group_is_stored_only_where_there_are_groups(tmp_path):
    plain, named = (
        manifest.samples([Sample("s", "1.png", "a")]),
        manifest.samples([Sample("s", "1.png", "a", group="g")]),
    )
    for frame, stored in ((plain, False), (named, True)):
        manifest.write(tmp_path / "m.parquet", frame)
        assert ("group" in pl.read_parquet(tmp_path / "m.parquet").columns) == stored
        assert manifest.read(tmp_path / "m.parquet").equals(frame)


def test_what_was_set_aside_is_said_in_words():
    def refused(*reasons: str) -> pl.DataFrame:
        return manifest.refusals(
            manifest.Refused(f"{number}", f"{number}.png", "a", reason, "Leave it out.")
            for number, reason in enumerate(reasons)
        )

    assert manifest.describe_refused(refused()) == "0 set aside"
    reasons = ("unreadable: cut short", "duplicate: of 0.png", "unreadable: empty")
    assert manifest.describe_refused(refused(*reasons)) == "3 set aside (1 duplicate, 2 unreadable)"
