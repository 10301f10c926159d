"""The package as ``pip install`` leaves it, outside the repository."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("dvc", "prefect")


class Installation:
    """An environment of its own with the wheel; what the wheel requires is that of the environment of the tests.

    Args:
        folder: for it.
        wheel: to install.
    """

    def __init__(self, folder: Path, wheel: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.bin = folder / "bin"
        packages = next(folder.glob("lib/python*/site-packages"))
        self.install(wheel)
        required = next(path for path in map(Path, sys.path) if path.name == "site-packages")
        (packages / "required.pth").write_text(f"{required}\n")
        for name in SCRIPTS:
            _, _, body = Path(sys.executable).with_name(name).read_text().partition("\n")
            (self.bin / name).write_text(f"#!{self.bin}/python\n{body}")
            (self.bin / name).chmod(0o755)

    def install(self, wheel: Path) -> None:
        """This wheel in the place of the one before."""
        command = ["--python", str(self.bin / "python"), "install", "--quiet", "--no-deps", "--no-index"]
        again = ["--force-reinstall", "--disable-pip-version-check", str(wheel)]
        subprocess.run([sys.executable, "-m", "pip", *command, *again], check=True)

    def run(self, folder: Path, *command: str, status: int = 0) -> str:
        """What a command says that is given in a folder, with PATH and HOME alone."""
        home = folder.parent / "home"
        home.mkdir(exist_ok=True)
        (home / ".gitconfig").write_text("[user]\n\tname = Somebody\n\temail = somebody@example.com\n")
        environment = {"PATH": os.pathsep.join([str(self.bin), os.environ["PATH"]]), "HOME": str(home)}
        done = subprocess.run(
            command, cwd=folder, env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout + done.stderr


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Builds the wheel of a source tree."""

    def built(tree: Path) -> Path:
        folder = tmp_path_factory.mktemp("wheel")
        subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=tree, check=True)
        (wheel,) = folder.glob("*.whl")
        return wheel

    return built


@pytest.fixture(scope="session")
def wheel(build: Callable[[Path], Path]) -> Path:
    """Of this repository."""
    return build(ROOT)


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Installation:
    """The wheel, installed."""
    return Installation(tmp_path_factory.mktemp("installed") / "env", wheel)
