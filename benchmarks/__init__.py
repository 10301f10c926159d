"""One script per question: ``python -m benchmarks.<name>``; each prints ratios measured in one run."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded; see stages/__init__.py
