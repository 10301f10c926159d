"""What the device wants: how many rows at a time, and in which precision.

chunk       on the CPU the rows and a buffer of their size fill the last cache; on CUDA an eighth of the free memory
precision   float64 on CUDA cards that multiply it at least half as fast as float32, elsewhere float32
"""

import os
from collections import deque
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diva.numerics.chunks import MOST, chunk_rows

FULL_RATE = {(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)}  # compute capabilities: P100, V100, A100, H100/H200, B200
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
TYPICAL = 2**24  # bytes of a last cache where the system does not tell
DEPTH = 3  # chunks that are on their way to a card, or wait there to be computed with


def resolve(name: str) -> str:
    """``auto`` is CUDA where there is one; ValueError where the device asked for is absent."""
    if name not in ("auto", "cpu") and not name.startswith("cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {name}.")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("device must be present, got cuda without a usable GPU; set device to auto or cpu.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def expand(name: str) -> list[str]:
    """The devices that a setting means: each card where it names none of several; errors as of `resolve`."""
    where = resolve(name)
    count = torch.cuda.device_count() if where == "cuda" else 0
    return [f"cuda:{number}" for number in range(count)] if count > 1 else [where]


def cards() -> list[str]:
    """The cards that this process sees, as its environment would name them to another that is to see one of them."""
    count = torch.cuda.device_count()
    return os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")[:count]


def precision(device: str) -> torch.dtype:
    """float64 where ``device`` has it at full rate, else float32."""
    if torch.device(device).type != "cuda":
        return torch.float32
    return torch.float64 if torch.cuda.get_device_capability(device) in FULL_RATE else torch.float32


def chunk_size(width: int, device: str) -> int:
    """Rows of ``width`` features to take at a time, a power of two so that it seldom differs between machines."""
    if torch.device(device).type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return 1 << (chunk_rows(width, free // 8, most=2**18).bit_length() - 1)
    return 1 << (chunk_rows(width, cache()).bit_length() - 1)


def at_most(rows: int, device: str) -> int:
    """A chunk size that was chosen on another device: no more than memory takes where this one is the processor."""
    return rows if torch.device(device).type == "cuda" else min(rows, MOST)


def cache() -> int:
    """Bytes of the processor's last cache."""
    sizes = [path.read_text(encoding="ascii").strip() for path in CACHES.glob("index*/size")]
    units = {"K": 2**10, "M": 2**20}
    return max((int(size[:-1]) * units[size[-1]] for size in sizes if size[-1:] in units), default=TYPICAL)


def onto(values: Any, where: torch.device | str) -> Tensor:
    """An array or tensor on a device, as it is; a card goes on computing while it is copied."""
    here, card = torch.as_tensor(values), torch.device(where).type == "cuda"
    if card and here.device.type == "cpu" and not here.is_pinned():
        here = here.pin_memory()
    return here.to(where, non_blocking=card)


class Transfer:
    """Chunks of one pass on their way to a device: a card computes with those before while the next are copied.

    Memory that a chunk was read into is held until the card has done with it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: torch.cuda.Stream | None = None
        self.under_way: deque[tuple[Any, Tensor]] = deque()

    def __call__(self, values: Any) -> Tensor:
        """The next chunk on the device."""
        here = torch.as_tensor(values)
        if self.device.type != "cuda" or here.device.type != "cpu":
            return here.to(self.device)
        here = here if here.is_pinned() else here.pin_memory()
        computing = torch.cuda.current_stream(self.device)
        self.under_way.append((computing.record_event(), here))  # behind all that was asked of the chunks before
        if len(self.under_way) > DEPTH:
            oldest = self.under_way.popleft()
            self.under_way[0][0].synchronize()
            del oldest
        self.stream = self.stream or torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self.stream):
            there = here.to(self.device, non_blocking=True)
        computing.wait_stream(self.stream)
        there.record_stream(computing)
        return there
