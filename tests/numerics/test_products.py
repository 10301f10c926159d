import pytest
import torch

from diva.numerics import blas, products
from diva.numerics.products import Workspace
from diva.numerics.threads import side_by_side
from tests.problems import relative_error

pytestmark = pytest.mark.usefixtures("arithmetic")
SHAPES = pytest.mark.parametrize(("m", "p"), [(1, 1), (1, 7), (40, 1), (3, 9), (40, 9), (33, 65)])
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def rows(m, p, dtype, seed=0):
    return torch.randn(m, p, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def tolerance(dtype):
    return 1e-5 if dtype == torch.float32 else 1e-13


@SHAPES
@PRECISIONS
def test_gram_is_the_symmetric_product_of_weighted_rows(m, p, dtype):
    z, total, work = rows(m, p, dtype), torch.zeros(p, p, dtype=torch.float64), Workspace()
    for weights in (None, rows(m, 1, dtype)[:, 0], rows(m, 1, dtype)[:, 0].abs(), torch.zeros(m, dtype=dtype)):
        products.add_gram(total.zero_(), z, weights, work)
        alpha = torch.ones(m) if weights is None else weights
        expected = z.double().T @ (alpha.double()[:, None] * z.double())
        assert (products.mirror(total) - expected).abs().max() <= tolerance(dtype) * max(1, m)
        assert torch.equal(total, total.T)


@SHAPES
@PRECISIONS
def test_quadratic_forms_are_those_of_the_whole_matrix(m, p, dtype):
    z, root, work = rows(m, p, dtype), rows(p, p, dtype, 1).triu(), Workspace()
    symmetric = rows(p, p, torch.float64, 2)
    symmetric = symmetric + symmetric.T
    expected = (z.double() @ root.double()).square().sum(1)
    assert relative_error(products.squares(z, root, work).double(), expected) < tolerance(dtype)
    expected = ((z.double() @ symmetric) * z.double()).sum(1)
    assert relative_error(products.quadratics(z, products.half(symmetric).to(dtype), work).double(), expected) < 1e-4


@SHAPES
@PRECISIONS
def test_narrow_products_are_plain_ones(m, p, dtype):
    z, matrix, values = rows(m, p, dtype), rows(p, 3, dtype, 1), rows(m, 3, dtype, 2)
    torch.testing.assert_close(products.times(z, matrix), z @ matrix)
    total = torch.ones(p, 3, dtype=torch.float64)
    products.add_cross(total, z, values, Workspace())
    torch.testing.assert_close(total, 1 + (z.T @ values).double(), rtol=1e-5, atol=1e-5)


def test_views_that_are_not_contiguous_give_the_same():
    z = rows(40, 18, torch.float64)
    view, copy = z[:, ::2], z[:, ::2].contiguous()
    total, again = torch.zeros(2, 9, 9, dtype=torch.float64)
    products.add_gram(total, view, None, Workspace())
    products.add_gram(again, copy, None, Workspace())
    assert torch.equal(total.triu(), again.triu())
    assert torch.equal(products.times(view, rows(9, 2, torch.float64)), products.times(copy, rows(9, 2, torch.float64)))


@pytest.mark.parametrize("p", [1, 2, 9, 65])
def test_inverse_root_times_itself_is_the_inverse(p):
    z = rows(3 * p, p, torch.float64)
    matrix = z.T @ z + torch.eye(p)
    root = products.inverse_root(matrix)
    assert torch.equal(root, root.triu())
    assert relative_error(products.outer(root), torch.linalg.inv(matrix)) < 1e-12
    inside = matrix + 1
    upper = products.sandwich(matrix, inside, side_by_side).triu()
    assert relative_error(upper, (matrix @ inside @ matrix).triu()) < 1e-13


def test_a_matrix_that_is_not_positive_definite_has_no_root():
    assert products.inverse_root(-torch.eye(3, dtype=torch.float64)) is None
    assert products.inverse_root(torch.full((3, 3), torch.nan, dtype=torch.float64)) is None


def legacy(precision):
    torch.set_float32_matmul_precision(precision)


def by_backend(precision):
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.mkldnn.matmul.fp32_precision = {"tf32": "bf16"}.get(precision, precision)


@pytest.mark.parametrize(
    ("choose", "precision"),
    [(legacy, "medium"), (legacy, "high"), (legacy, "highest"), (by_backend, "tf32"), (by_backend, "ieee")],
)
def test_float32_products_are_float32_whatever_torch_is_set_to(choose, precision):
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    before = [backend.fp32_precision for backend in backends]
    z = rows(64, 64, torch.float32)
    exact = z.double().T @ z.double()
    choose(precision)
    chosen = [backend.fp32_precision for backend in backends]
    try:
        total = torch.zeros(64, 64, dtype=torch.float64)
        products.add_gram(total, z, None, Workspace())
        assert relative_error(products.mirror(total), exact) < 1e-6  # bfloat16 would be off by 1e-3
        assert relative_error(products.times(z, z).double(), z.double() @ z.double()) < 1e-6
        with products.exactly():
            assert not {"tf32", "bf16"} & {backend.fp32_precision for backend in backends}
        assert [backend.fp32_precision for backend in backends] == chosen
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def test_a_workspace_hands_the_same_memory_out_again():
    work, like = Workspace(), torch.zeros(1)
    large = work.take("a", like, 8, 4)
    assert work.take("a", like, 3, 4).data_ptr() == large.data_ptr()
    assert work.take("b", like, 3, 4).data_ptr() != large.data_ptr()
    assert work.take("a", like.double(), 3, 4).dtype == torch.float64
    assert work.take("a", like, 20, 4).shape == (20, 4)


def test_operands_that_do_not_match_are_refused(arithmetic):
    if arithmetic == "torch":
        pytest.skip("a check of scipy's path")
    with pytest.raises(ValueError, match=r"operands of syrk must be contiguous torch\.float32"):
        blas.syrk(torch.zeros(3, 2), torch.zeros(2, 2, dtype=torch.float64), 1.0, 0.0)


def test_operands_of_other_shapes_are_refused_before_memory_is_read():
    rows, work = torch.randn(5, 4, dtype=torch.float64), Workspace()
    with pytest.raises((ValueError, RuntimeError), match="shape"):
        products.times(rows, torch.randn(3, 2, dtype=torch.float64))
    with pytest.raises((ValueError, RuntimeError), match="shape"):
        products.cross(rows, torch.randn(4, 2, dtype=torch.float64), work)
    if blas.serves(rows):
        with pytest.raises(ValueError, match=r"operand must have shape \(4, 4\), got \(3, 3\)"):
            products.squares(rows, torch.eye(3, dtype=torch.float64), work)
