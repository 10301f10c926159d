"""Print what `make install` takes on this machine, each file with its hash, as a list for pip's hash-checking mode.

The build of the project itself needs its backend, so that is listed, too. Hashes are those that the index gives now:
make the list where you trust it, look at it, and commit it. It holds for this platform and Python alone.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EDITABLE = "editables"  # which the build backend asks for when the installation is editable


def report() -> dict[str, Any]:
    """What pip would install into an empty environment."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    options = ["--dry-run", "--quiet", "--ignore-installed", "--report", "-", "--constraint", ROOT / "constraints.txt"]
    command = [sys.executable, "-m", "pip", "install", *options, ROOT, *build, EDITABLE]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603 - this interpreter's pip
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def lines(installed: list[dict[str, Any]]) -> Iterator[str]:
    """One requirement a line, by name; the project itself has no file."""
    for item in sorted(installed, key=lambda item: item["metadata"]["name"].lower()):
        if "dir_info" not in item["download_info"]:
            hashes = item["download_info"]["archive_info"]["hashes"]
            said = " ".join(f"--hash={name}:{value}" for name, value in sorted(hashes.items()))
            yield f"{item['metadata']['name']}=={item['metadata']['version']} {said}"


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines(report()["install"])) + "\n")
