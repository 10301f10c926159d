import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diva.store.slabs import read_rows


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 199), max_size=60),
    st.integers(1, 50),
)
def test_slabs_give_what_indexing_gives(rows, most):
    source = np.arange(400).reshape(200, 2)
    assert np.array_equal(read_rows(source, np.array(rows, dtype=np.int64), most), source[rows])


class Watched:
    """Counts what is read."""

    def __init__(self, values):
        self.values, self.reads = values, []
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, rows):
        self.reads.append(rows.stop - rows.start)
        return self.values[rows]


def test_few_reads_and_none_of_the_whole():
    source = Watched(np.arange(20_000).reshape(10_000, 2))
    rows = np.array([5, 7, 6, 9_000, 9_003, 9_001])
    assert np.array_equal(read_rows(source, rows), source.values[rows])
    assert source.reads == [3, 4]
    source.reads.clear()
    read_rows(source, np.arange(0, 10_000, 2), most=100)
    assert max(source.reads) <= 100
