"""YAML that people write, params.yaml and the ledger: read, and what is wrong with it in words."""

import io
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML


class UniqueKeysSafeLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which the last would win in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = max(names, key=names.count) if len(set(names)) < len(names) else None
        if twice is not None:
            raise ValueError(f"key {twice} stands twice in the section that begins in line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


def text_of(path: Path) -> str:
    """The text of a file of the project; ValueError where it is missing, or no text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(
            f"{path} must exist; run in the project's folder, bring it back from git, or begin one: diva init."
        ) from None
    except OSError as error:
        raise ValueError(f"{path} must be a readable file: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be readable YAML: {error}") from None


def sections(text: str, where: str | Path) -> dict[str, Any]:
    """A text as a mapping of sections; ValueError where it is none."""
    try:
        content = yaml.load(text, UniqueKeysSafeLoader)  # noqa: S506 - a safe loader
    except Exception as error:  # beside its own, PyYAML lets those of every constructor through
        raise ValueError(
            f"{where} must be readable YAML: {' '.join(str(error).split()) or type(error).__name__}"
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f"{where} must hold one section per stage, got {type(content).__name__}.")
    return content


def dumped(content: Any) -> str:
    """YAML 1.2, as DVC reads it: keys in the order given, a line each."""
    writer: Any = YAML(typ="safe", pure=True)
    writer.default_flow_style, writer.sort_base_mapping_type_on_output, writer.width = False, False, 4096
    writer.representer.ignore_aliases = lambda *_: True
    stream = io.StringIO()
    writer.dump(content, stream)
    return stream.getvalue()


def shown(value: Any) -> str:
    """A value in few words, however deep it is nested."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 200, 200
    return short.repr(value)


def explain(error: ValidationError, content: Any, where: str = "", joint: str = "") -> list[str]:
    """A line per mistake: where, what was expected (any one of several), what was got."""
    expected: dict[str, list[str]] = {}
    got = {}
    for fault in error.errors():
        keys = ".".join(_keys(fault, content))
        key = f"{where}{joint if keys else ''}{keys}"
        own = fault["type"] == "value_error"  # in words already
        expected.setdefault(key, []).append(str(fault["ctx"]["error"]) if own else fault["msg"].lower())
        got[key] = "" if own else ", got nothing." if fault["type"] == "missing" else f", got {shown(fault['input'])}."
    return [f"{key}: {' or '.join(messages)}{got[key]}" for key, messages in expected.items()]


def _keys(fault: ErrorDetails, content: Any) -> Iterator[str]:
    """The fault's place as keys of the content, without pydantic's names for the alternatives of a union."""
    for part in fault["loc"]:
        if isinstance(content, dict) and (part in content or fault["type"] == "missing"):
            content = content.get(part)
        elif isinstance(content, list) and isinstance(part, int):
            content = content[part]
        else:
            continue
        yield str(part)
