"""Commands of a page as it prints them: lines that begin with ``$`` in its console blocks."""

import re
from pathlib import Path

BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*?)(?:\s+#.*)?$", re.MULTILINE)


def printed(page: Path) -> list[str]:
    """Commands in the page's order, without their comments."""
    return [command for block in BLOCK.findall(page.read_text("utf-8")) for command in COMMAND.findall(block)]
