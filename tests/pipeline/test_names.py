"""Names are nouns and verbs of the field, each for one thing: what style asks for and a machine can see."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("diva", "stages", "flows")
WORDS = {"found", "known", "told", "kept", "held", "ours", "left", "again", "alone", "one", "place", "near", "apart"}
SHARED = ("commands", "curation", "methods", "numerics", "versions")  # there a module and its function share a name


def parsed() -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in sorted(Path(package).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def names(node: ast.AST) -> Iterator[str]:
    """What a node gives a name to."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.arg(arg=name) | ast.alias(asname=str(name)) | ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.Attribute(attr=name, ctx=ast.Store()):
            yield name


def test_no_class_name_stands_twice():
    classes = Counter(node.name for _, tree in parsed() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert {name for name, count in classes.items() if count > 1} == set()


def test_no_participle_or_pronoun_is_a_name():
    bad = [
        f"{path}:{getattr(node, 'lineno', 0)} {name}"
        for path, tree in parsed()
        for node in ast.walk(tree)
        for name in names(node)
        if name.strip("_").lower() in WORDS
    ]
    assert bad == []


def test_no_module_has_a_function_of_its_name():
    """Stages, flows and commands have: there the module is the command."""
    shared = {
        path.as_posix()
        for path, tree in parsed()
        for node in tree.body
        if path.parts[0] == "diva" and isinstance(node, ast.FunctionDef) and node.name == path.stem
    }
    assert {path for path in shared if path.split("/")[1] not in SHARED} == set()


def test_modules_are_at_most_350_lines():
    lines = {path.as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path, _ in parsed()}
    assert {path for path, count in lines.items() if count > 350} == set()
