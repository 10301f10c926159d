"""The tests mirror the packages; ``naive.py`` is the specification."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded; see stages/__init__.py
