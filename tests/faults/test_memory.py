"""Memory and file handles that run out in extraction: the machine's fault, so no image pays for it."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diva.store import paths
from diva.vision import datasets
from diva.vision.backbone import Backbone
from tests.conftest import ROOT
from tests.faults.case import REFUSED, UNHARMED, Case
from tests.faults.conftest import Undisturbed
from tests.projects import real_stages as project

ALBUM = Path("photos")
LIMITED = """
import re, resource, sys
from diva.vision import datasets
from stages import command, extract
read = datasets.read_bytes
def limited(*arguments):
    held = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (held + (24 << 20), resource.RLIM_INFINITY))
    return read(*arguments)
datasets.read_bytes = limited
command.run(extract.extract, "batch")
"""


def full(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """A device that holds ``most`` images."""

    def forward(self: Backbone, images: torch.Tensor) -> torch.Tensor:
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, images)

    real = Backbone.forward
    monkeypatch.setattr(Backbone, "forward", forward)


@Case("a device that is too small for a batch", "memory", "the network finds no memory for four images", UNHARMED).test
def test_a_batch_that_does_not_fit_is_halved(album: Undisturbed, monkeypatch: pytest.MonkeyPatch) -> None:
    full(monkeypatch, 2)
    assert project.quarantine(project.half_night(ALBUM)).is_empty()
    project.night("more")
    assert project.alike(project.released(), album.released)


@Case("a device that is too small for one image", "memory", "the network finds no memory at all", REFUSED).test
def test_a_device_without_memory_is_an_error_and_the_next_run_goes_on(
    album: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(self: Backbone, images: torch.Tensor) -> torch.Tensor:
        if hasattr(self, "width"):  # once it was tried with an image of zeros
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return real(self, images)

    real = Backbone.forward
    batch = project.accept(ALBUM)
    with monkeypatch.context() as patch:
        patch.setattr(Backbone, "forward", forward)
        with pytest.raises(
            MemoryError, match=r"cpu must have memory for one image at least.*Lower extract\.batch_size"
        ):
            project.run_round()
    assert not paths.features(batch).exists()
    project.run_round()
    project.night("more")
    assert project.same(project.released(), album.released)


@Case("memory that runs out in decoding", "memory", "the system gives no more memory to the stage", REFUSED).test
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what the process holds")
def test_no_image_is_set_aside_for_want_of_memory(album: Undisturbed) -> None:
    large = ALBUM / "cat" / "large.png"  # 27 MB once decoded; a near-constant image is small on disk
    Image.fromarray(np.zeros((3000, 3000, 3), np.uint8)).save(large)
    project.write_params(download={"max_pixels": 1 << 26})
    batch = project.accept(ALBUM)
    from stages.download import download

    download(batch)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", LIMITED, "--batch", batch]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "photos/cat/large.png must fit into memory" in done.stderr
    assert "Traceback" not in done.stderr
    assert not paths.features(batch).exists()
    project.run_round()
    assert project.quarantine(batch).is_empty()
    project.night("more")
    assert len(project.released()) == len(album.released)


@Case("no file can be opened", "memory", "the process holds as many files as it may", REFUSED).test
def test_no_image_is_set_aside_for_want_of_file_handles(album: Undisturbed, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, read, limits = project.accept(ALBUM), datasets.read_bytes, resource.getrlimit(resource.RLIMIT_NOFILE)

    def starved(path: str, *options: object) -> object:
        if not path.endswith("105.png"):
            return read(path, *options)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            return read(path, *options)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "read_bytes", starved)
        with pytest.raises(OSError, match=r"Too many open files\. Lower extract.*photos/cat/105\.png"):
            project.run_round()
    project.run_round()
    assert project.quarantine(batch).is_empty()
    project.night("more")
    assert project.same(project.released(), album.released)
