"""The BLAS and LAPACK that scipy ships, called on tensors in place: products that torch lacks on the CPU.

torch has neither `syrk` (a symmetric product) nor `trmm` (a triangular one), each half the work of a plain product, nor
the triangular inverse `trtri` and the product `lauum` of a triangle with itself. What is p×p goes through
`scipy.linalg.lapack`. The products with rows are called through ctypes from what scipy publishes for Cython:
`scipy.linalg.blas` gives the same bits at the same speed (within 4 % at p = 513 and 1,281, without a copy), but holds
the interpreter's lock while it computes. Another thread got 0.1 (p = 1,281) to 0.4 (p = 513) of the steps that it gets
beside ctypes, which would stop those that read ahead and those that take the next chunk (`diva.numerics.threads`).

BLAS counts columns first: a row-major (m, p) tensor is to it a (p, m) matrix, and an upper triangle a lower one.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

SUFFIX = {torch.float32: "s", torch.float64: "d"}
NUMBER = {torch.float32: ctypes.c_float, torch.float64: ctypes.c_double}

Routine = Callable[..., None]


def load() -> dict[str, Routine] | None:
    """The routines by their BLAS names; None where scipy has none to call."""
    try:
        from scipy.linalg import cython_blas
    except ImportError:
        return None
    names = [letter + kind for kind in ("syrk", "trmm", "gemm") for letter in SUFFIX.values()]
    routines = {name: _routine(cython_blas.__pyx_capi__.get(name)) for name in names}
    return None if None in routines.values() else {name: routine for name, routine in routines.items() if routine}


def _routine(capsule: Any) -> Routine | None:
    """The function of a capsule; None where its integers are not C's int, which is what is passed here."""
    if capsule is None:
        return None
    name_of, address_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    address_of.restype, address_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = name_of(capsule)
    if signature is None or b", int *, " not in signature:
        return None
    arguments = signature.count(b",") + 1
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(address_of(capsule, signature))


ROUTINES = load()


def serves(rows: Tensor) -> bool:
    """Whether these products can run here on ``rows``: on the CPU, in float32 or float64, with scipy installed."""
    return ROUTINES is not None and rows.device.type == "cpu" and rows.dtype in SUFFIX


def syrk(rows: Tensor, out: Tensor, alpha: float, beta: float) -> None:
    """The upper triangle of ``out`` ← alpha·rowsᵀrows + beta·out; rows (m, p) and out (p, p), contiguous."""
    m, p = rows.shape
    _require(out, p, p)
    _call("syrk", rows, b"L", b"N", p, m, alpha, rows, max(1, p), beta, out, max(1, p))


def trmm(rows: Tensor, upper: Tensor) -> None:
    """``rows`` (m, p) ← rows @ upper, in place; below the diagonal ``upper`` (p, p) is not read."""
    m, p = rows.shape
    _require(upper, p, p)
    _call("trmm", rows, b"L", b"L", b"N", b"N", p, m, 1.0, upper, max(1, p), rows, max(1, p))


def gemm(rows: Tensor, matrix: Tensor, out: Tensor) -> None:
    """``out`` (m, k) ← rows (m, p) @ matrix (p, k), all contiguous."""
    (m, p), k = rows.shape, matrix.shape[1]
    _require(matrix, p, k)
    _require(out, m, k)
    _call("gemm", rows, b"N", b"N", k, m, p, 1.0, matrix, max(1, k), rows, max(1, p), 0.0, out, max(1, k))


def gemm_transposed(rows: Tensor, values: Tensor, out: Tensor) -> None:
    """``out`` (p, k) ← rowsᵀ values, of rows (m, p) and values (m, k), all contiguous."""
    (m, p), k = rows.shape, values.shape[1]
    _require(values, m, k)
    _require(out, p, k)
    _call("gemm", rows, b"N", b"T", k, p, m, 1.0, values, max(1, k), rows, max(1, p), 0.0, out, max(1, k))


def _require(operand: Tensor, rows: int, columns: int) -> None:
    """The routines read memory by these sizes, whatever lies there."""
    if tuple(operand.shape) != (rows, columns):
        raise ValueError(f"operand must have shape ({rows}, {columns}), got {tuple(operand.shape)}.")


def factorise(matrix: Tensor) -> bool:
    """The upper triangle of ``matrix`` (p, p) ← U with UᵀU = matrix; False where it is not positive definite."""
    return _lapack("potrf", matrix, lower=1, clean=0, overwrite_a=1)


def invert(upper: Tensor) -> bool:
    """The upper triangle U (p, p) ← U⁻¹; False where it is singular."""
    return _lapack("trtri", upper, lower=1, overwrite_c=1)


def square(upper: Tensor) -> None:
    """The upper triangle R (p, p) ← that of RRᵀ."""
    _lapack("lauum", upper, lower=1, overwrite_c=1)


def eigh(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (p,), ascending, and eigenvectors in columns, by divide and conquer."""
    from scipy.linalg import eigh as decompose

    values, vectors = decompose(symmetric.numpy(), driver="evd")
    return torch.from_numpy(values), torch.from_numpy(vectors)


def _lapack(kind: str, matrix: Tensor, **options: int) -> bool:
    """Whether a routine succeeded on ``matrix`` in place: its transpose is in Fortran's order and is not copied."""
    from scipy.linalg import lapack

    _, failed = getattr(lapack, SUFFIX[matrix.dtype] + kind)(matrix.numpy().T, **options)
    return bool(failed == 0)


def _call(kind: str, like: Tensor, *arguments: Tensor | bytes | float) -> None:
    """Fortran's convention: everything by reference. int stands for a size, float for a number of the precision."""
    assert ROUTINES is not None  # noqa: S101  # callers ask `serves` first
    references: list[Any] = []
    for value in arguments:
        if isinstance(value, Tensor):
            if not value.is_contiguous() or value.dtype != like.dtype or value.device.type != "cpu":
                raise ValueError(f"operands of {kind} must be contiguous {like.dtype} on the CPU, got {value.dtype}.")
            references.append(value.data_ptr())
        elif isinstance(value, bytes):
            references.append(value)
        else:  # `byref` keeps the number alive until the call is over
            references.append(
                ctypes.byref(ctypes.c_int(value) if isinstance(value, int) else NUMBER[like.dtype](value))
            )
    ROUTINES[SUFFIX[like.dtype] + kind](*references)
