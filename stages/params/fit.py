"""Section ``fit`` of params.yaml: how every ridge problem of the pipeline is posed and computed."""

from typing import Annotated, Literal

from pydantic import Field

from diva.text.choices import Normalization
from stages.params.section import Section


class Fit(Section):
    """Recorded in data/fit, from where every later stage takes them, so that all solve the same problem."""

    normalize: Normalization  # of each row, before the constant column is appended
    ridges: list[Annotated[float, Field(gt=0)]] = Field(min_length=1)  # the grid that leave-one-out chooses from
    chunk_size: Annotated[int, Field(ge=1)] | Literal["auto"]  # rows that travel together
    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")  # auto: CUDA where there is one
    dtype: Literal["auto", "float32", "float64"]  # of the products with rows; p×p work is float64 always
