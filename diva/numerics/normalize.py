"""Rows as the closed forms want them: normalised, with a constant column, as tensors.

    unit          z = x / ‖x‖          (the default; a zero row stays zero)
    none          z = x
    standardize   z = (x − mean) / scale

and then a column of ones, which carries the intercept under the same ridge penalty as everything else.
Centring instead would make the n < p problem singular and mislead the leave-one-out error at small ridges.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

import torch
from torch import Tensor

from diva.numerics.chunks import Chunk, Chunks, Files
from diva.numerics.conditions import Conditions, deferred
from diva.numerics.device import Transfer, onto
from diva.text.choices import Normalization
from diva.text.progress import rows_of, track


@dataclass(frozen=True)
class Scaling:
    """What `standardize` subtracts and divides by: ``mean`` (p,) and ``scale`` (p,), float64."""

    mean: Tensor
    scale: Tensor


def scaling(chunks: Chunks) -> Scaling:
    """Mean and standard deviation of every feature, in one pass; a constant feature gets scale 1.

    The spread is summed around the first row, so that a large mean does not cancel it.
    """
    n, p = chunks.shape
    origin: Tensor | None = None
    total, squares = torch.zeros(p, dtype=torch.float64), torch.zeros(p, dtype=torch.float64)
    for features, _, _ in chunks:
        rows = torch.as_tensor(features).to("cpu", torch.float64)
        origin = rows[0] if origin is None else origin
        total += (rows - origin).sum(0)
        squares += (rows - origin).square().sum(0)
    if origin is None:
        raise ValueError("chunks must hold at least one row to be standardized, got none.")
    shift = total / n
    variance = (squares / n - shift.square()).clamp_min(0)
    deviation = variance.sqrt()
    return Scaling(origin + shift, torch.where(deviation > 1e-12 * origin.abs().clamp_min(1), deviation, 1.0))


class Prepared:
    """Chunks of tensors (m, p + 1) with the constant column last, made on the fly from chunks of raw features (m, p).

    Args:
        chunks: raw features; numpy or torch, any real dtype.
        normalize: `unit`, `none` or `standardize`.
        scaling: needed by `standardize`; the core's, so that every set is scaled alike.
        device: where the tensors go.
        dtype: float32 or float64, the precision of the matrix products.

    Raises:
        ValueError: on an unknown normalisation, a missing scaling, or (while iterating, on a card when all are read) a
            row that is not finite.
    """

    def __init__(
        self,
        chunks: Chunks,
        normalize: Normalization = "unit",
        *,
        scaling: Scaling | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if normalize not in get_args(Normalization):
            raise ValueError(f"normalize must be one of {', '.join(get_args(Normalization))}, got {normalize!r}.")
        if normalize == "standardize" and scaling is None:
            raise ValueError(
                "scaling must be given to standardize, got None; make it with diva.numerics.normalize.scaling."
            )
        self.chunks, self.normalize, self.scaling = chunks, normalize, scaling
        self.device, self.dtype = torch.device(device), dtype
        self._local: tuple[Tensor, Tensor] | None = None  # mean and scale as the rows are

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p + 1)."""
        n, p = self.chunks.shape
        return n, p + 1

    def __iter__(self) -> Iterator[Chunk]:
        transfer, conditions = Transfer(self.device), Conditions()
        for features, labels, rows in track(self.chunks, self.shape[0], "rows", rows_of):
            x, numbers = transfer(features), range(rows.start, rows.stop)
            yield Chunk(self._prepare(x, numbers, conditions), self.codes(labels), rows)
        conditions.settle()

    def read(self, chosen: Callable[[slice], Any]) -> Iterator[tuple[Any, Tensor]]:
        """Of each chunk the rows alone that the mask ``chosen(slice)`` (m,) says: where they stand in it, and they."""
        masks, chunks = dict[int, Any](), cast(Files, self.chunks)
        transfer, conditions = Transfer(self.device), Conditions()

        def asked(rows: slice) -> Any:
            return masks.setdefault(rows.start, chosen(rows))

        for features, _, rows in track(chunks.read(asked), self.shape[0], "rows", rows_of):
            positions = masks.pop(rows.start).nonzero()[0]
            yield positions, self._prepare(transfer(features), rows.start + positions, conditions)
        conditions.settle()

    @property
    def settings(self) -> tuple[Any, ...]:
        """What rows of equal features become depends on these alone."""
        scaling = (
            () if self.scaling is None else tuple(tuple(column.tolist()) for column in vars(self.scaling).values())
        )
        return self.normalize, self.device, self.dtype, scaling

    def codes(self, labels: Any) -> Tensor:
        """Labels as the closed forms take them."""
        return onto(labels, self.device).to(torch.int64)

    def _prepare(self, raw: Tensor, numbers: Sequence[int], conditions: Conditions) -> Tensor:
        x = raw.to(self.dtype)
        if self.scaling is not None and self.normalize == "standardize":
            mean, scale = self._local = self._local or (self.scaling.mean.to(x), self.scaling.scale.to(x))
            x = (x - mean) / scale
        prepared = x.new_ones(x.shape[0], x.shape[1] + 1)
        scaled, norms = moderate(x)
        # A norm that is not finite gives away any entry that is not, at the price of m numbers.
        finite, kind = torch.isfinite(norms[:, 0]), precision(x)

        def error() -> ValueError:
            row = numbers[int((~finite).nonzero()[0])]
            return ValueError(f"features must be finite, got NaN or infinity in row {row}, in {kind}.")

        conditions.require(finite, error)
        if self.normalize == "unit":
            torch.div(scaled, norms.where(norms > 0, 1.0), out=prepared[:, :-1])
            return prepared
        if scaled is not x:
            message = f"features must have squares within {kind}, got larger ones; scale them down."
            squared = torch.isfinite(torch.linalg.vector_norm(x, dim=1))
            conditions.require(squared, lambda: ValueError(message))
        prepared[:, :-1] = x
        return prepared


def precision(rows: Tensor) -> str:
    """float32 or float64."""
    return str(rows.dtype).removeprefix("torch.")


def moderate(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (…, p) and their norms; a row whose squares leave the range of its type is divided by its largest entry."""
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    limits = torch.finfo(rows.dtype)
    extreme = ~((norms > (limits.tiny / limits.eps) ** 0.5) & (norms <= limits.max))
    if not deferred(rows) and not extreme.any():
        return rows, norms
    largest = rows.abs().amax(-1, keepdim=True)
    scaled = torch.where(extreme & (largest > 0), rows / largest, rows)
    return scaled, torch.linalg.vector_norm(scaled, dim=-1, keepdim=True).where(extreme, norms)


def unit(rows: Tensor) -> Tensor:
    """Rows (…, p) divided by their norm; a zero row stays zero."""
    scaled, norms = moderate(rows)
    divided: Tensor = scaled / norms.where(norms > 0, 1.0)
    return divided
