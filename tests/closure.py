"""Which files of this project a module imports, directly or through others, read from the source."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("diva", "stages", "flows")


def module_file(name: str) -> Path | None:
    """The file of a module of ours; packages' ``__init__`` files hold no code and do not count."""
    file = ROOT.joinpath(*name.split(".")).with_suffix(".py")
    return file if file.is_file() else None


@cache
def imports(file: Path) -> frozenset[Path]:
    """Files of ours that ``file`` imports itself, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {module_file(name) for name in names if name.split(".")[0] in PACKAGES}
    return frozenset(found - {None})


def closure(file: Path) -> set[str]:
    """``file`` and all it needs, relative to the project."""
    seen, todo = set(), [file]
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo.extend(imports(file))
    return {path.relative_to(ROOT).as_posix() for path in seen}


def sections(file: Path) -> set[str]:
    """Sections of params.yaml that a stage reads: the first argument of every ``read("name", Model)``."""
    calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    reads = [call for call in calls if ast.unparse(call.func) in ("section.read", "read") and len(call.args) == 2]
    return {call.args[0].value for call in reads if isinstance(call.args[0], ast.Constant)}
