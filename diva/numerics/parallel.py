"""Sums over parts of the rows: in this process, or wherever a mapper takes them.

Moments, adjoints and derivatives add up or line up over rows, so a function of chunks may be asked of `Parts` instead.
It is then applied to each part by itself; what adds up (``Moments``, ``Adjoint``) is added in pairs, in float64 and
always in the same order, and what stands for rows is put end to end. Where the parts are worked on changes no bit; how
the rows are cut changes the last bits of sums, and nothing else as long as the cuts fall between chunks.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from itertools import pairwise
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar, cast

import torch
from torch import Tensor

from diva.numerics.chunks import Chained, Chunk, Chunks

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class PartResult(NamedTuple):
    """A function's result for some rows: what adds up over rows, and what stands for each of them."""

    sums: tuple[Any, ...]
    rows: tuple[Any, ...]


class Mapper(Protocol):
    """Applies a function to every part, adds up the sums in pairs (`tree`), and returns the rows in order."""

    def __call__(
        self, function: Callable[..., Any], shared: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]
    ) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
        """The function takes ``shared`` and one of ``parts`` as keywords."""
        ...


def in_turn(
    function: Callable[..., Any], shared: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]
) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
    """The mapper of one process: part after part; the threads are those of the matrix products."""
    rows: list[tuple[Any, ...]] = []

    def sums() -> Iterator[tuple[Any, ...]]:
        for part in parts:
            outcome = apply(function, shared, part)
            rows.append(outcome.rows)
            yield outcome.sums

    return tree(sums(), added), rows


class Parts:
    """Chunks in parts, each of which can be worked on by itself; otherwise they are like one.

    Args:
        parts: chunks; what a mapper sends away must say where its rows lie rather than hold them.
        mapper: works on them.
    """

    def __init__(self, parts: Sequence[Chunks], mapper: Mapper = in_turn) -> None:
        self.whole, self.parts, self.mapper = Chained(parts), tuple(parts), mapper

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p)."""
        return self.whole.shape

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self.whole)

    def slices(self) -> list[slice]:
        """The rows of each part."""
        stops = torch.tensor([0, *(part.shape[0] for part in self.parts)]).cumsum(0).tolist()
        return [slice(start, stop) for start, stop in pairwise(stops)]


def cuts(n: int, size: int, chunk_size: int) -> list[slice]:
    """n rows in parts of about ``size``, cut between chunks only; one part where there are no rows."""
    step = max(1, size // chunk_size) * chunk_size
    return [slice(start, min(start + step, n)) for start in range(0, max(n, 1), step)]


def over_parts(*by_row: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function of ``chunks`` take `Parts`.

    Args:
        by_row: names of arguments that hold something for each row, and are cut like the rows: tensors (n, …), frozen
            data classes of such, or None. The others go to every part as they are.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def wherever(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs).arguments
            chunks = given.get("chunks")
            if not isinstance(chunks, Parts):
                return function(*args, **kwargs)
            shared = {name: value for name, value in given.items() if name not in (*by_row, "chunks")}
            parts = [
                {"chunks": part, **{name: _cut(given[name], rows) for name in by_row if name in given}}
                for part, rows in zip(chunks.parts, chunks.slices(), strict=True)
            ]
            sums, rows = chunks.mapper(wherever, shared, parts)
            joined = (*sums, *(_end_to_end(column) for column in zip(*rows, strict=True)))
            return cast(R, joined[0] if len(joined) == 1 else joined)

        return wherever

    return decorate


def apply(function: Callable[..., Any], shared: Mapping[str, Any], part: Mapping[str, Any]) -> PartResult:
    """A function's result for one part; sums come before rows."""
    result = function(**part, **shared)
    values = result if type(result) is tuple else (result,)
    return PartResult(tuple(x for x in values if _adds(x)), tuple(x for x in values if not _adds(x)))


def tree(values: Iterator[T], add: Callable[[T, T], T]) -> T:
    """The sum of values in pairs, pairs of pairs, …: rounding grows with the logarithm of their number."""
    waiting: list[tuple[int, T]] = []  # sums of 2^level values, their levels falling
    for value in values:
        level = 0
        while waiting and waiting[-1][0] == level:
            value, level = add(waiting.pop()[1], value), level + 1
        waiting.append((level, value))
    total = waiting.pop()[1]
    while waiting:
        total = add(waiting.pop()[1], total)
    return total


def added(first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Any, ...]:
    """The sums of two sets of rows as those of both."""
    return tuple(a + b for a, b in zip(first, second, strict=True))


def _adds(value: Any) -> bool:
    return isinstance(value, int | float) or (is_dataclass(value) and hasattr(value, "__add__"))


def _cut(value: Any, rows: slice) -> Any:
    if value is None or isinstance(value, Tensor):
        return None if value is None else value[rows].clone()  # a view would take all rows along
    return replace(value, **{field.name: _cut(getattr(value, field.name), rows) for field in fields(value)})


def _end_to_end(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    names = [field.name for field in fields(first)]
    return replace(first, **{name: torch.cat([getattr(part, name) for part in parts]) for name in names})
