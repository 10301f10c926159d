"""Several annotators, on plain arrays; `diva.estimators` has the arguments that all of them take."""

import warnings
from typing import Any

import numpy as np
import torch

from diva import inputs
from diva.curation.annotators import consensus as consensus_of_rows
from diva.estimators.results import ConsensusLabels
from diva.inputs import Array, Engine, Precision, Ridge, Size
from diva.numerics.threads import single_threaded_libraries
from diva.text.cells import is_missing, require_rows
from diva.text.choices import Normalization
from diva.text.votes import moment


@single_threaded_libraries()
def consensus(
    X: Any,
    annotations: Any,
    *,
    groups: Any = None,
    ridge: Ridge = "loo",
    normalize: Normalization = "unit",
    chunk_size: Size = "auto",
    device: str = "auto",
    dtype: Precision = "auto",
) -> ConsensusLabels:
    """Agree on labels that several annotators gave (`diva.curation.annotators`).

    Args:
        X: (n, p).
        annotations: (n, A) labels, one column an annotator; None, NaN, pandas' NA or an empty text where one gave none.
            Or a frame with a row for each thing said: a position in X, `annotator`, `label`.
        groups: (n,) of numbers or strings; rows of one group are left out together.
        ridge: λ > 0, or `loo`.
        normalize: `unit`, `none` or `standardize`.
        chunk_size: rows in memory at a time, or `auto`.
        device: `auto`, or a torch device.
        dtype: `auto`, `float32` or `float64`.

    Returns:
        The likeliest label of each row, and how often each annotator is right.

    Raises:
        ValueError: on a row without a label, fewer than two classes, all that most call one class in a single group,
            or a setting out of range.

    Examples:
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> hasty = np.where(np.arange(500) % 2, y[:500], (y[:500] + 1) % 10)  # every second one wrong
        >>> consensus(X[:500], np.column_stack([y[:500], hasty])).quality.round(1)
        array([1. , 0.5])
    """
    engine, rows = Engine(ridge, normalize, chunk_size, device, dtype), inputs.read_features(X)
    votes, classes = _votes(_wide(annotations, len(rows)))
    require_rows(X=rows, annotations=votes)
    nothing = torch.zeros(len(votes), dtype=torch.int64)
    chunks = engine.chunks(rows, nothing, engine.scaling(rows, nothing, nothing == 0))
    together = None if groups is None else inputs.group_codes(inputs.read_groups(groups, len(votes)))
    agreed = consensus_of_rows(
        chunks, votes, len(classes), ridge=None if ridge == "loo" else float(ridge), groups=together
    )
    if together is not None:  # of a class that lies in one group the model would deny every label
        inputs.check_groups(together, agreed.plurality, classes)
    return ConsensusLabels(
        classes[agreed.label.numpy()],
        classes[agreed.plurality.numpy()],
        agreed.probability.numpy(),
        classes,
        agreed.wrong.numpy(),
        agreed.quality.numpy(),
        agreed.interval.numpy(),
        agreed.votes.numpy(),
        agreed.next_vote.numpy(),
        agreed.value.numpy(),
    )


def annotation_table(row: Any, annotator: Any, label: Any, *, n: int, time: Any = None) -> tuple[Array, Array]:
    """A list of who said what of which row, as `consensus` takes it: labels (n, A), None where there is none.

    Args:
        row: (m,) positions in X.
        annotator: (m,) names.
        label: (m,) labels.
        n: rows of X.
        time: (m,) of numbers, dates, or texts as ISO 8601 writes them; None where the list is in order. What an
            annotator said last of a row counts.

    Returns:
        The table, and the annotators (A,) of its columns, sorted.

    Raises:
        ValueError: on lengths that differ, or a position outside 0..n−1.

    Examples:
        >>> table, annotators = annotation_table([0, 0, 1], ["ann", "bob", "ann"], ["cat", "dog", "dog"], n=2)
        >>> table.tolist(), annotators.tolist()
        ([['cat', 'dog'], ['dog', None]], ['ann', 'bob'])
    """
    rows, said, labels = np.asarray(row), np.asarray(annotator), np.asarray(label, dtype=object)
    require_rows(row=rows, annotator=said, label=labels, time=time)
    if len(rows) and rows.dtype.kind not in "iu":
        raise ValueError(f"row must hold positions in X, whole numbers from 0, got {rows.tolist()[0]!r}; number them.")
    if missing := [number for number, name in enumerate(said.tolist()) if is_missing(name)]:
        raise ValueError(f"annotator must hold a name in every row, got none in row {missing[0]}; leave it out.")
    if len(rows) and not (0 <= rows.min() <= rows.max() < n):
        raise ValueError(f"row must hold positions in 0..{n - 1}, got {rows.min()}..{rows.max()}.")
    annotators, columns = np.unique(said, return_inverse=True)
    order = np.arange(len(rows)) if time is None else np.argsort([moment(each) for each in time], kind="stable")
    table = np.full((n, len(annotators)), None, dtype=object)
    for i in order:
        table[rows[i], columns[i]] = labels[i]
    return table, annotators


def _wide(annotations: Any, n: int) -> Any:
    """A frame of who said what of which row, and when, as a table (n, A); anything else as it is."""
    names = list(getattr(annotations, "columns", ()))
    others = [name for name in names if name not in ("annotator", "label", "time")]
    if len(others) != 1 or not {"annotator", "label"} < set(names):
        if {np.asarray(annotations[name]).dtype.kind in "iuf" for name in names} == {True, False}:
            raise ValueError(
                f"annotations must have a column of labels for each annotator, or the columns row, annotator, label "
                f"(and time), got numbers and text in {', '.join(map(str, names))}; rename or leave out the others."
            )
        return annotations
    row, time = others[0], annotations["time"] if "time" in names else None
    positions = np.asarray(annotations[row])
    if positions.dtype.kind not in "iu":
        raise ValueError(
            f"annotations must name rows by their positions in X, got {positions[:1].tolist()} in column {row!r}; "
            "number them: positions = {name: i for i, name in enumerate(names of the rows of X)}."
        )
    return annotation_table(positions, annotations["annotator"], annotations["label"], n=n, time=time)[0]


def _votes(annotations: Any) -> tuple[torch.Tensor, Array]:
    """Codes (n, A), −1 where there is none, and the classes."""
    table = np.asarray(annotations)
    if table.dtype.kind == "U" and not isinstance(annotations, np.ndarray):
        table = np.array(annotations, dtype=object)  # numpy made None and NaN among texts the texts "None" and "nan"
    if table.ndim != 2 or not table.shape[1]:
        way = "stack a column an annotator: numpy.column_stack([ann, bob])"
        raise ValueError(f"annotations must have shape (n, annotators), got {table.shape}; {way}.")
    if table.shape[1] > 2 and table.dtype.kind in "fiub" and (np.sort(table, 1) == np.eye(table.shape[1])[-1]).all():
        warnings.warn("annotations look like one-hot rows: a column is an annotator, not a class", stacklevel=4)
    absent = np.array([[is_missing(vote) or vote == "" for vote in row] for row in table.tolist()], bool)
    codes = torch.full(table.shape, -1)
    given = table[~absent].tolist() if table.dtype.kind == "O" else table[~absent]
    classes, numbers = np.unique(inputs.read_labels(given, "annotations"), return_inverse=True)
    codes[torch.from_numpy(~absent)] = torch.from_numpy(numbers)
    return codes, classes
