"""One module per stage of the pipeline: ``python -m stages.<verb>``."""

import gc
import sys

from diva.numerics import cores

cores.reserve()  # before torch and BLAS are loaded
if sys.argv[0] == "-m":  # a process of its own: imports leave no garbage, and looking for it takes a tenth of their time
    gc.disable()  # until `command.run`
