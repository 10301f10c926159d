"""How far work is: a bar in a terminal, quiet lines elsewhere, nothing where nobody asked for it."""

import hashlib
import io
import logging
import os
import pty
import re
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from diva.ingest import archives
from diva.store import digests
from diva.text import progress

STAGE = """
import logging, sys, time
from diva.text import progress
from diva.ingest import archives
from diva.store import digests
progress.QUIET = 0.3
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
with progress.shown("slow", patience=0.2):
    for number in progress.track(range(12), 12, "rows"):
        time.sleep(0.1)
        if number == 8:
            logging.info("in the middle")
logging.info("slow is done")
"""
PIPELINE = "stages:\n  slow:\n    cmd: python slow.py\n"


@pytest.fixture
def slow(tmp_path: Path, project: Path) -> tuple[list[str], Path, dict[str, str]]:
    """``dvc repro`` of a stage that takes a while; its folder and environment."""
    (tmp_path / "slow.py").write_text(STAGE)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(project), "PATH": path, "DVC_NO_ANALYTICS": "1", "COLUMNS": "80"}
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "--quiet"], cwd=tmp_path, env=environment, check=True)
    return [*dvc, "repro"], tmp_path, environment


def test_a_stage_that_dvc_runs_in_a_terminal_shows_a_bar(slow: tuple[list[str], Path, dict[str, str]]) -> None:
    command, folder, environment = slow
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text = b""
    while True:
        try:
            text += os.read(ours, 4096)
        except OSError:  # the last process that wrote here is gone
            break
    assert process.wait() == 0
    os.close(ours)
    told = text.decode()
    bars = re.findall(r"slow: +(\d+)%\|[^|]*\| (\d+)/12 \[(\d\d:\d\d)<(\d\d:\d\d), +[\d.]+ rows/s\]", told)
    assert len(bars) > 2, "a share, a rate, the time left"
    assert [int(done) for _, done, _, _ in bars] == sorted(int(done) for _, done, _, _ in bars)
    assert re.search(r"\r +\rin the middle", told), "a line of the log stands above the bar"
    assert re.search(r"\r +\r[^%]*$", told), "the bar is gone at the end"
    assert not re.search(r"%\|[^\r]*$", told), "the bar is gone at the end"


def test_a_stage_in_a_log_leaves_a_quiet_line_now_and_then(slow: tuple[list[str], Path, dict[str, str]]) -> None:
    command, folder, environment = slow
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    told = done.stdout + done.stderr
    assert "\r" not in told
    assert "\x1b" not in told
    lines = [line for line in told.splitlines() if line.startswith("slow: ")]
    assert lines
    assert all(re.fullmatch(r"slow: \d+ of 12 rows, \d+ rows/s, \d+ s left", line) for line in lines)


def test_where_nobody_looks_a_loop_is_what_it_was() -> None:
    assert list(progress.track(iter("abc"), 3, "letters")) == list("abc")
    assert progress._display is None


def test_short_work_says_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "QUIET", 0.0)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with caplog.at_level(logging.INFO), progress.shown("short", patience=60):
        for _ in progress.track(range(3), 3, "rows"):
            time.sleep(0.01)
    assert (stream.getvalue(), caplog.messages) == ("", [])


def test_the_outermost_loop_is_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "QUIET", 0.0)
    with caplog.at_level(logging.INFO), progress.shown("outer", patience=0), progress.shown("inner"):
        for _ in progress.track(range(2), 2, "folds"):
            for _ in progress.track(range(2), 2, "rows"):
                time.sleep(0.01)
    assert caplog.messages
    assert all(message.startswith("outer: ") and "of 2 folds" in message for message in caplog.messages)


def test_sizes_are_counted_and_another_thread_is_left_alone() -> None:
    with progress.shown("work"):
        display = progress._display
        assert display is not None
        loop = progress.track([("a", 3), ("b", 4)], 7, "rows", lambda item: item[1])
        assert [(item[0], display.bar.done) for item in loop] == [("a", 0), ("b", 3)]
        assert display.bar is None
        seen: list[object] = []
        other = threading.Thread(target=lambda: seen.extend(display.bar for _ in progress.track("ab", 2, "rows")))
        other.start()
        other.join()
        assert seen == [None, None]


def test_hashing_and_unpacking_tell_how_far_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, archive = tmp_path / "file", tmp_path / "file.tar"
    file.write_bytes(b"x" * (2 * digests.PIECE + 1))
    with tarfile.open(archive, "w") as packed:
        packed.add(file, "file")
    seen: list[tuple[str, int]] = []

    def bar_of(display: progress.Display, total: int, unit: str) -> progress.LogBar:
        seen.append((unit, total))
        return progress.LogBar(display.name, unit, total)

    monkeypatch.setattr(progress, "bar_of", bar_of)
    with progress.shown("work"):
        assert digests.sha256(file) == hashlib.sha256(file.read_bytes()).hexdigest()
        (tmp_path / "unpacked").mkdir()
        assert archives.sift(archive, tmp_path / "unpacked", archives.Limits()) == []
    assert seen == [("bytes", file.stat().st_size), ("files", 0)]


def test_a_loop_that_fails_takes_its_bar_along() -> None:
    def fail() -> None:
        for _ in progress.track(range(3), 3, "rows"):
            raise ValueError("wrong")

    with progress.shown("work"):
        with pytest.raises(ValueError, match="wrong"):
            fail()
        assert progress._display is not None
        assert progress._display.bar is None
    assert progress._display is None


@pytest.mark.parametrize(
    ("done", "said"),
    [(0, "0 of 1,000 rows"), (500, "500 of 1,000 rows, 50 rows/s, 10 s left"), (5, "5 of 1,000 rows, 2.0 s each, ")],
)
def test_a_line_says_share_rate_and_time_left(done: int, said: str) -> None:
    bar = progress.LogBar("work", "rows", 1000, done=done, begun=time.monotonic() - 10)
    assert bar.described().startswith(said)


def test_what_nobody_knows_the_length_of_still_has_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = progress.LogBar("work", "bytes", 0, done=2_000_000, begun=time.monotonic() - 10)
    assert bar.described().startswith("2,000,000 bytes, ")
    assert bar.described().endswith(" bytes/s")
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    drawn = progress.bar_of(progress.Display("download", patience=0), 0, "bytes")
    drawn.update(2_000_000)
    drawn.refresh()
    drawn.close()
    assert "2.00M" in terminal.getvalue()
    assert "%" not in terminal.getvalue()
