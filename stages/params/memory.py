"""Section ``memory`` of params.yaml: what rows that stay in memory may take. No result, and no stage, depends on it."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ByteSize, TypeAdapter, ValidationError

from stages.params.section import Section

BYTES = TypeAdapter(ByteSize)


def _size(value: Any) -> Any:
    try:
        return value if value == "auto" else BYTES.validate_python(value)
    except ValidationError:
        raise ValueError(f"must be auto, or a size such as 4 GiB, got {value!r}.") from None


class Memory(Section):
    """Rows of features that fit are read and normalised once a stage; of more, the first stay."""

    rows: Annotated[Literal["auto"] | int, BeforeValidator(_size)]  # auto: a quarter of the machine's or the card's
