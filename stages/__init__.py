"""One module per stage of the pipeline: ``python -m stages.<verb>``."""

import gc
import os
import sys
from pathlib import Path

from diva.numerics import cores

cores.reserve()  # before torch and BLAS are loaded
if Path("diva").is_file():  # the library is installed; it must be the one that the project's stages were written for
    from diva.versions import library

    try:
        library.require_recorded()
    except ValueError as error:
        sys.exit(f"stages: {error}")
if sys.argv[0] == "-m":  # a process of its own: looking for garbage takes a tenth of the time of imports
    gc.disable()  # until `command.run`
    if "DIVA_FORK_SERVER" in os.environ:
        from diva.versions import fork_client

        fork_client.run_elsewhere()
