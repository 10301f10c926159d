"""One module per stage of the pipeline: ``python -m stages.<verb>``."""

from diva.numerics import cores

cores.reserve()  # before torch and BLAS are loaded
