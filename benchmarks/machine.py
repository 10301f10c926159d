"""What the figures were measured on; results carry it beside them."""

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits


def threads(count: int) -> None:
    """From here on torch and the BLAS that scipy ships compute in ``count`` threads."""
    torch.set_num_threads(count)
    threadpool_limits(count)


def publish(result: dict[str, Any], out: Path | None) -> None:
    """Print a result as JSON, and write it where a file is named."""
    text = json.dumps(result, indent=1) + "\n"
    sys.stdout.write(text)
    if out:
        out.write_text(text, encoding="utf-8")


def description() -> dict[str, Any]:
    """Processor, threads, accelerator and the versions that matter; no name of a host, no path."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a file only on Linux
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
