"""``dvc repro``, which reads its files in a fraction of the time: ``python -m diva.versions.reproduction repro …``.

After each stage DVC reads the whole lock file by a parser that minds comments, of which a lock file has none, and
writes it. Here it is read by the parser that DVC takes elsewhere; what is written is the same to the byte. Of what DVC
says its advice on git and on remotes goes, since projects have their own, and so does a line a stage on its lock file.
For each stage it reads ledger and parameters: what was read before is copied.
"""

import logging
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

from diva.versions import fork_client
from diva.versions.cache import LOCK

ADVICE = "Use `dvc push` to send"


def reproduce(arguments: list[str]) -> int:
    """Exit status of the command, whose first word is ``repro``."""
    from dvc.cli import main  # type: ignore[import-untyped]
    from dvc.ui import ui  # type: ignore[import-untyped]
    from dvc.utils.serialize import _yaml  # type: ignore[import-untyped]

    for module in ("dvc.dvcfile", "dvc.repo.scm_context"):
        logging.getLogger(module).setLevel(logging.WARNING)
    write = ui.write
    ui.write = lambda *words, **how: None if ADVICE in " ".join(map(str, words)) else write(*words, **how)
    of_comments, of_text = _yaml.parse_yaml_for_update, _yaml.parse_yaml
    parsed: dict[str, Any] = {}

    def parse(text: str, path: str) -> Any:
        return of_text(text, path) if Path(path).name == LOCK.name else of_comments(text, path)

    def parse_once(text: str, path: str, typ: str = "safe") -> Any:
        if typ != "safe":
            return of_text(text, path, typ)
        if text not in parsed:
            parsed[text] = of_text(text, path)
        return deepcopy(parsed[text])

    _yaml.parse_yaml_for_update, _yaml.parse_yaml = parse, parse_once
    try:
        return int(main(arguments))
    finally:
        _yaml.parse_yaml_for_update, _yaml.parse_yaml = of_comments, of_text


if __name__ == "__main__":
    fork_client.run_elsewhere()
    sys.exit(reproduce(sys.argv[1:]))
