"""A clone as a newcomer has it, and commands as a newcomer gives them: nothing in the environment but PATH and HOME."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPTS = ("dvc", "prefect", "diva", "pre-commit", "uvicorn")


class Newcomer:
    """Somebody with a home, git's identity in it, and a clone.

    Args:
        home: a new folder.
        clone: where the commands are given.
    """

    def __init__(self, home: Path, clone: Path) -> None:
        home.mkdir()
        (home / ".gitconfig").write_text("[user]\n\tname = Somebody\n\temail = somebody@example.com\n")
        tools = [
            folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != Path(sys.executable).parent
        ]
        own = str(clone / ".venv/bin")  # first, as where the environment is activated
        self.clone, self.environment = clone, {"PATH": os.pathsep.join([own, *tools]), "HOME": str(home)}

    def start(self, command: str, log: Path) -> "subprocess.Popen[bytes]":
        """A printed command at work in a group of its own; what it says goes to a file."""
        with log.open("wb") as out:
            return subprocess.Popen(
                ["bash", "-c", command], cwd=self.clone, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def run(self, command: str) -> str:
        """What a printed command says; AssertionError where it fails."""
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.clone, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not done.returncode, f"$ {command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout + done.stderr

    @contextmanager
    def running(self, command: str, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
        """A command that goes on until Ctrl-C, which its whole group is given at the end of the block."""
        process = self.start(command, log)
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)


def installed(clone: Path) -> None:
    """`.venv` as ``make curate`` leaves it, from the packages of the environment that runs the tests."""
    venv = clone / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    packages = next(venv.glob("lib/python*/site-packages"))
    ours = next(folder for folder in map(Path, sys.path) if folder.name == "site-packages")
    (packages / "clone.pth").write_text(f"{clone}\n{ours}\n")
    for name in SCRIPTS:
        script = Path(sys.executable).with_name(name)
        if script.exists():
            _, _, body = script.read_text().partition("\n")
            (venv / "bin" / name).write_text(f"#!{venv}/bin/python\n{body}")
            (venv / "bin" / name).chmod(0o755)
    for mark in (".installed", ".installed-dev"):
        (venv / mark).touch()


def cloned(origin: Path, clone: Path) -> None:
    """A fresh clone."""
    subprocess.run(["git", "clone", "--quiet", origin, clone], check=True)
    shutil.rmtree(clone / ".venv", ignore_errors=True)
