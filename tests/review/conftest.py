"""A project with a report, images of odd names, and the review server that the command starts."""

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import pytest
from PIL import Image

from diva.store import curated, index, ledger, manifest, paths, tables

NAMES = ("0.png", "<script>alert(1)</script>.png", "😀 שלום.png", "50%2e#?.png")
LABELS = ("cat", "<script>alert(1)</script>", "cat", "😀")
REVIEWER = "Ada, שלום"
FEATURES_ALONE = "train/0001 50%?#é"  # what came as features bears names of its own
PAGE = "<!doctype html><html><HEAD lang='en'><title>Report</title></HEAD><body><h1>Report</h1></body></html>"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Served:
    """A running server."""

    root: Path
    ids: list[str]
    address: str
    process: "subprocess.Popen[str]"

    @property
    def port(self) -> int:
        return int(urlsplit(self.address).port or 0)

    @property
    def token(self) -> str:
        return urlsplit(self.address).query.removeprefix("token=")

    def ask(self, method: str, target: str, body: Any = None, **headers: str | None) -> Answer:
        """A request as a page of the server's own sends it, unless its headers are given (None: not sent at all)."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        whole: dict[str, str | None] = {
            "Host": f"127.0.0.1:{self.port}",
            "Origin": f"http://127.0.0.1:{self.port}",
            "Sec-Fetch-Site": "same-origin",
            "X-DIVA-Token": self.token,
            "Content-Type": "application/json" if content is not None else None,
            "Content-Length": str(len(content)) if content is not None else None,
        }
        whole |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in whole.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(content)
        response = connection.getresponse()
        told = Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())
        connection.close()
        return told

    def put(self, sample_id: str, decision: str, label: str | None = None, note: str | None = None) -> int:
        """The status of a decision."""
        return self.ask("PUT", "/decisions", Decision(sample_id, decision, label, note)).status

    def end(self, how: signal.Signals = signal.SIGINT) -> str:
        """What the process says after it was asked to end."""
        self.process.send_signal(how)
        return self.process.communicate(timeout=30)[0]


def Decision(sample_id: str, decision: str, label: str | None = None, note: str | None = None) -> dict[str, Any]:  # noqa: N802
    """The body of a decision."""
    return {"sample_id": sample_id, "decision": decision, "label": label, "note": note}


def build(root: Path) -> list[str]:
    """A project of a core and a report; return the samples' ids: four of images outside data/, one that has none.

    Of two images the path is absolute, as it is where the folder was named so.
    """
    generator = np.random.default_rng(0)
    rows = []
    for name, label in zip(NAMES, LABELS, strict=True):
        file = root.parent / "photos" / name
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (6, 6, 3), dtype=np.uint8)).save(file)
        sample_id = hashlib.sha256(file.read_bytes()).hexdigest()[: manifest.ID_LENGTH]
        rows.append(manifest.Sample(sample_id, str(file) if len(rows) % 2 else f"../photos/{name}", label, 6, 6))
    rows.append(manifest.Sample(FEATURES_ALONE, "features.h5", LABELS[0]))
    here = Path.cwd()
    os.chdir(root)
    try:
        write(manifest.samples(rows))
    finally:
        os.chdir(here)
    return [row.sample_id for row in rows]


def write(samples: pl.DataFrame) -> None:
    """Manifest, ledger, index, the set r000 and the page of a core, in the working directory."""
    manifest.write(paths.manifest("core"), samples)
    where = {"batch": "core", "features": "data/features/core.h5", "checksum": "none"}
    columns = {name: pl.lit(value) for name, value in where.items()}
    core = samples.with_columns(row=pl.int_range(pl.len()), **columns).select(list(index.SCHEMA))
    index.write(paths.CORE, core)
    index.write(paths.pool("b000"), tables.empty(index.SCHEMA))
    curated.write(paths.curated("r000"), curated.entered(tables.conform(core, index.SCHEMA, "core"), "core", "r000"))
    ledger.write(paths.LEDGER, ledger.start(ledger.Batch(source="photos", checksum="none", options={})))
    paths.REPORT.parent.mkdir()
    paths.REPORT.write_text(PAGE)


def arrive(batch: str) -> str:
    """Put the tables of a batch of one image on disk, in the working directory; return the image's id."""
    file = Path("../photos") / f"{batch}.png"
    Image.new("RGB", (6, 6), "red").save(file)
    sample_id = hashlib.sha256(file.read_bytes()).hexdigest()[: manifest.ID_LENGTH]
    rows = manifest.samples([manifest.Sample(sample_id, str(file), LABELS[0], 6, 6)])
    manifest.write(paths.manifest(batch), rows)
    where = {"batch": batch, "features": f"data/features/{batch}.h5", "checksum": "none"}
    columns = {name: pl.lit(value) for name, value in where.items()}
    index.write(paths.pool(batch), rows.with_columns(row=pl.int_range(pl.len()), **columns).select(list(index.SCHEMA)))
    return sample_id


def start(root: Path, ids: list[str], project: Path, *options: str) -> Served:
    """The command as a user starts it; the address is what it prints."""
    environment = os.environ | {"PYTHONPATH": str(project), "COLUMNS": "40"}
    process = subprocess.Popen(
        [sys.executable, "-m", "diva.commands.cli", "review", "--serve", "--as", REVIEWER, *options],
        cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    said = []
    for line in process.stdout or ():
        said.append(line)
        if "http://" in line:
            return Served(root, ids, line.split()[-1], process)
    process.wait()
    raise AssertionError("".join(said))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Iterator[Served]:
    """A server that a module's tests share."""
    root = tmp_path_factory.mktemp("review") / "project"
    root.mkdir()
    found = start(root, build(root), project)
    yield found
    found.process.kill()
    found.process.communicate()
