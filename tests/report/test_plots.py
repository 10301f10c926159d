import polars as pl

from diva.report import plots


def test_values_that_are_not_finite_have_no_bar() -> None:
    frame = pl.DataFrame({"score": [0.0, 1.0, float("nan"), None], "flagged": [True, False, True, False]})
    found = plots.histogram(frame, "score")
    assert (int(found["flagged"].sum()), int(found["unflagged"].sum())) == (1, 1)
    assert len(plots.histogram(frame.tail(2), "score")) == 0
