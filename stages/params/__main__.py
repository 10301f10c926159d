"""Validates the whole of params.yaml: each section against the model of the stage of the same name."""

import contextlib
import difflib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterable
from typing import Any

from diva.store import documents, paths
from diva.versions import published, rounds
from diva.versions.processes import CommandError
from stages import params
from stages.params import section
from stages.params.section import Section

OPTIONAL = ("memory",)  # which no stage depends on
NO_SECTIONS = ("__main__", "methods", "section")  # modules here that describe no section


def models() -> dict[str, type[Section]]:
    """The model of each section, by the section's name."""
    names = sorted(module.name for module in pkgutil.iter_modules(params.__path__) if module.name not in NO_SECTIONS)
    return {name: model(name) for name in names}


def model(name: str) -> type[Section]:
    """The section's model: the class in ``stages/params/<name>.py`` that bears its name, with or without "Settings"."""
    module = importlib.import_module(f"stages.params.{name}")
    classes = inspect.getmembers(module, lambda member: inspect.isclass(member) and issubclass(member, Section))
    named = [kind for title, kind in classes if title.lower().removesuffix("settings") == name.replace("_", "")]
    if not named:
        raise ValueError(f"stages/params/{name}.py must define the model {name.title().replace('_', '')}, got none.")
    section_model: type[Section] = named[0]
    return section_model


def faults(content: dict[str, Any]) -> list[str]:
    """One message per mistake in the whole of params.yaml, in the order of the sections."""
    sections = models()
    strange = [
        f"{paths.PARAMS}:{name}: no such section{_hint(name, sections)}." for name in content if name not in sections
    ]
    absent = [
        f"{paths.PARAMS}:{name}: this section must be there, got nothing."
        for name in sections
        if name not in (*content, *OPTIONAL)
    ]
    wrong = [fault for name in sections if name in content for fault in _section(name, content[name], sections[name])]
    return strange + absent + (wrong or _between(content))


def _between(content: dict[str, Any]) -> list[str]:
    """What keys of sections must have in common, each of which is right by itself."""
    score, methods = (content.get(name, {}).get(key) for name, key in (("curate", "score"), ("score", "methods")))
    if score is None or not methods or score in methods:
        return []
    return [f"{paths.PARAMS}:curate.score: must be one of score.methods, {methods}, got {score!r}; add it there."]


def _section(name: str, content: Any, kind: type[Section]) -> list[str]:
    where = f"{paths.PARAMS}:{name}"
    if not isinstance(content, dict):
        return [f"{where}: must be a mapping of {', '.join(kind.model_fields)}, got {documents.shown(content)}."]
    try:
        section.validate(content, kind, where)
    except ValueError as error:
        strange = [str(key) for key in content if key not in kind.model_fields]
        return [str(error), *(f"{where}.{key}: unknown key{_hint(key, kind.model_fields)}." for key in strange)]
    return []


def _hint(name: Any, choices: Iterable[str]) -> str:
    names = list(choices)
    close = difflib.get_close_matches(str(name), names, 1)
    return f"; is {close[0]} meant?" if close else f"; there are {', '.join(names)}"


def main() -> int:
    """0 where params.yaml is right; otherwise 1, and every mistake on stderr."""
    try:
        mistakes = faults(section.load())
    except ValueError as error:
        mistakes = [str(error)]
    sys.stderr.writelines(f"{fault}\n" for fault in mistakes)
    if not mistakes and paths.LEDGER.is_file():
        _follow()
    return int(bool(mistakes))


def _follow() -> None:
    """Let rounds that are not published yet obey params.yaml as it is now, and say which do."""
    content, changed = section.load(), list[str]()
    with contextlib.suppress(CommandError):  # where there is no git, nothing is published, and DVC says what is missing
        changed = rounds.follow(published.by_round(), {name: content[name] for name in ("extend", "curate")})
    if changed:
        sys.stdout.write(f"{', '.join(changed)}: not published yet, so they follow params.yaml, which was edited.\n")


if __name__ == "__main__":
    sys.exit(main())
