"""The release: what of a curated set, and of the pool, it holds."""

import polars as pl

from diva.store import curated, index, release, tables


def indexed(batch: str, ids: str) -> pl.DataFrame:
    rows = {"sample_id": list(ids), "row": list(range(len(ids)))}
    constant = {"batch": batch, "features": f"{batch}.h5", "label": "a", "path": "p", "checksum": "c"}
    frame = pl.DataFrame(rows).with_columns(**{name: pl.lit(value) for name, value in constant.items()})
    return tables.conform(frame, index.SCHEMA, "index")


def weighed(ids: str) -> pl.DataFrame:
    numbers = {name: [0.5] * len(ids) for name in ("weight", "derivative", "margin")}
    return pl.DataFrame({"sample_id": list(ids), **numbers})


def scored(ids: str) -> pl.DataFrame:
    frame = pl.DataFrame({"sample_id": list(ids)}).with_columns(
        score=0.1, margin=0.5, flagged=pl.lit(value=False), suggested_label=pl.lit("a"), derivative=0.0
    )
    return tables.conform(frame, curated.SCORES, "scores")


def said(**decided: tuple[str, str | None]) -> pl.DataFrame:
    rows = [(name, decision, label, None) for name, (decision, label) in decided.items()]
    return pl.DataFrame(rows, dict(curated.REVIEW), orient="row")


STATE = curated.start(indexed("core", "uvw"), scored("uvw"), "weigh")


def test_weights_of_members_alone_leave_the_pool_out():
    assert release.complete(STATE, weighed("uvw"), indexed("b001", "xyz"), said(), None).equals(STATE)
    assert not release.has_others(weighed("uvw"), STATE)
    assert release.has_others(weighed("uvwx"), STATE)


def test_weights_of_everything_bring_the_rest_of_the_pool():
    state = release.complete(STATE, weighed("uvwxyz"), indexed("b001", "xyz"), said(), None)
    train, removed = release.frames(state, weighed("uvwxyz"), weighted=True)
    assert train["sample_id"].to_list() == list("uvwxyz")
    assert train["origin"].to_list() == ["core"] * 3 + ["pool"] * 3
    assert train.filter(pl.col("origin") == "pool")["round"].unique().to_list() == ["none"]
    assert removed.is_empty()


def test_the_rest_of_the_pool_obeys_people_too():
    """Also where weights are of before the decision."""
    people = said(x=("reject", None), y=("relabel", "b"), z=("accept", None))
    state = release.complete(STATE, weighed("uvwxyz"), indexed("b001", "xyz"), people, None)
    train, removed = release.frames(state, weighed("uvwxyz"), weighted=True)
    assert train.select("sample_id", "label", "given_label").rows()[3:] == [("y", "b", "a"), ("z", "a", "a")]
    assert "x" not in {*train["sample_id"], *removed["sample_id"]}


def test_of_a_set_and_the_pool_the_columns_that_are_released_suffice():
    flags = pl.DataFrame([("y", "flag", 0.1, -0.5, 0.9, "b", "called b")], dict(curated.CHANGES), orient="row")
    pool, weights, people = indexed("b001", "xyz"), weighed("uvwxyz"), said(x=("relabel", "b"))
    whole = release.complete(STATE, weights, pool, people, flags)
    few = [name for name in release.COLUMNS if name in pool.columns]
    some = release.complete(STATE.select(release.COLUMNS), weights, pool.select(few), people, flags)
    assert some.equals(whole.select(release.COLUMNS))
    for frame, same in zip(release.frames(some, weights, True), release.frames(whole, weights, True), strict=True):
        assert frame.equals(same)


def test_two_samples_of_every_class_stay_whatever_is_called_wrong():
    rows = [("a1", "a", False, 0.1), ("a2", "a", True, -0.5), ("a3", "a", True, -0.1), ("b1", "b", True, None)]
    members = pl.DataFrame(rows, ["sample_id", "label", "flagged", "margin"], orient="row")
    assert release.left_out(members)["sample_id"].to_list() == ["a2"]


def test_removed_samples_of_versions_of_old_have_no_score(tmp_path):
    schema = {name: dtype for name, dtype in release.REMOVED.items() if name != "score"}
    tables.write(tmp_path / "removed.parquet", tables.empty(schema), schema)
    assert release.read_removed(tmp_path / "removed.parquet").columns == list(release.REMOVED)


def test_labels_called_wrong_of_what_no_round_chose_leave_but_where_people_decided():
    flags = [(name, "flag", 0.1, -0.5, 0.9, "b", "called b") for name in "xyv"]
    calls = pl.DataFrame(flags, dict(curated.CHANGES), orient="row")
    pool = indexed("b001", "xyz")
    state = release.complete(STATE, weighed("uvwxyz"), pool, said(y=("accept", None)), calls)
    train, removed = release.frames(state, weighed("uvwxyz"), weighted=True, flagged="out")
    assert train["sample_id"].to_list() == list("uvwyz")
    assert removed.select("sample_id", "suggested_label", "score", "reason").rows() == [("x", "b", 0.9, "called b")]


def test_columns_that_are_asked_for_are_those_of_the_whole(tmp_path):
    """Of a set, of the set after a round, and of an index that has groups and further columns."""
    added = pl.DataFrame([("y", "add", 0.1, 0.5, 0.2, "a", "good")], dict(curated.CHANGES), orient="row")
    after = curated.apply("r001", STATE, added, indexed("b001", "xyz"), said(u=("reject", None)))
    some = curated.apply("r001", STATE, added, indexed("b001", "xyz"), said(u=("reject", None)), only=("status", "row"))
    assert some.equals(after.select("status", "row"))
    curated.write(tmp_path / "set.parquet", after)
    assert curated.read(tmp_path / "set.parquet", only=("row", "label")).equals(
        after.select("row", "label"), null_equal=True
    )
    pool = indexed("b001", "xyz").with_columns(group=pl.Series(["g", None, "g"]), site=pl.lit("north"))
    index.write(tmp_path / "pool.parquet", pool)
    assert index.described(tmp_path / "pool.parquet").equals(pool.select("sample_id", "label", "group", "site"))
    index.write(tmp_path / "plain.parquet", indexed("b001", "xyz"))
    assert index.described(tmp_path / "plain.parquet").is_empty()
