"""What changed between two sets."""

import polars as pl

from diva.versions import difference


def members(**rows: tuple[str, float]) -> pl.DataFrame:
    schema = {"sample_id": pl.String, "label": pl.String, "weight": pl.Float64}
    return pl.DataFrame([(name, *row) for name, row in rows.items()], schema, orient="row")


BEFORE = members(a=("x", 1.0), b=("x", 1.0), c=("y", 1.0), d=("y", 1.0))
AFTER = members(a=("x", 1.0), c=("x", 0.5), d=("y", 1.0 + 1e-12), e=("z", 1.0))


def test_each_change_is_a_row() -> None:
    rows = difference.difference(BEFORE, AFTER)
    assert sorted(rows.select("sample_id", "change", "class").rows()) == [
        ("b", "removed", "x"),
        ("c", "relabelled", "x"),
        ("c", "reweighted", "x"),
        ("e", "added", "z"),
    ]


def test_counts_by_class_add_up() -> None:
    by_class = difference.counts(difference.difference(BEFORE, AFTER))
    assert by_class == {
        "x": {"added": 0, "removed": 1, "relabelled": 1, "reweighted": 1},
        "z": {"added": 1, "removed": 0, "relabelled": 0, "reweighted": 0},
    }
    assert difference.totals(by_class) == {"added": 1, "removed": 1, "relabelled": 1, "reweighted": 1}


def test_equal_sets_do_not_differ() -> None:
    assert difference.difference(BEFORE, BEFORE).is_empty()
    assert set(difference.difference(AFTER, BEFORE).filter(change="added")["sample_id"]) == {"b"}
