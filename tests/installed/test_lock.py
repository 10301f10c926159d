"""The list with hashes that `make lock` writes and `make install` asks for."""

import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def wheel(folder: Path, content: str) -> None:
    """A wheel of one module, named small."""
    about = "small-1.0.dist-info"
    with zipfile.ZipFile(folder / "small-1.0-py3-none-any.whl", "w") as file:
        file.writestr("small.py", content)
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
        file.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{about}/RECORD", "")


def pip(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """``pip install`` from a folder alone."""
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_pip_takes_what_the_list_names_and_no_file_that_was_exchanged(tmp_path):
    spec = importlib.util.spec_from_file_location("lock", ROOT / ".ci/lock.py")
    lock = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lock)
    wheel(tmp_path, "x = 1")
    links = ("--find-links", str(tmp_path))
    made = pip(*links, "--dry-run", "--quiet", "--ignore-installed", "--report", "-", "small")
    project = {"metadata": {"name": "diva-curation", "version": "0"}, "download_info": {"dir_info": {}}}
    (line,) = lock.lines([project, *json.loads(made.stdout)["install"]])
    assert line.startswith("small==1.0 --hash=sha256:")
    (tmp_path / "requirements.lock").write_text(f"{line}\n")
    asked = (*links, "--no-deps", "--require-hashes", "--requirement", str(tmp_path / "requirements.lock"))
    assert pip(*asked, "--target", str(tmp_path / "right")).returncode == 0
    wheel(tmp_path, "x = 2")
    refused = pip(*asked, "--target", str(tmp_path / "wrong"))
    assert refused.returncode
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert not (tmp_path / "wrong").exists()


def test_make_install_asks_for_hashes_where_there_is_a_list(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)

    def printed() -> str:
        done = subprocess.run(
            ["make", "--dry-run", "install"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert "--require-hashes" not in printed()
    (tmp_path / "requirements.lock").touch()
    assert "--require-hashes --no-deps --requirement requirements.lock" in printed()
    assert "--no-deps --no-build-isolation --editable ." in printed()
