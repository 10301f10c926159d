"""One module per stage of the pipeline: ``python -m stages.<verb>``."""

import os

# Before torch is loaded: idle OpenMP threads sleep. By default they spin, which makes small factorisations several
# times slower wherever another process wants a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
