"""Stage ``code``: what each stage runs on, as digests of the files that its module imports.

A stage depends on its digests (data/code), so an edit runs again what imports the edited file and nothing else. DVC
then looks at one file where it would look at dozens in every stage of every batch, and ``dvc.lock`` stays short.

What published rounds rest on is history: once a round of the ledger is published, the stages of ``HISTORY`` keep the
digests of the code that made them, so new code shapes what comes and nothing is made anew. Manifests and features
depend on a revision alone (``diva.vision.revision``), which whoever changes their content raises.
"""

import logging
from pathlib import Path
from typing import Any

from diva.store import digests, paths, tables
from diva.versions import library
from diva.versions.closure import has_published_rounds, imported_files, recorded_code
from diva.versions.published import HISTORY
from diva.vision import revision
from stages.command import run

logger = logging.getLogger(__name__)
# rounds are left out: a published one is history, its code's commit stands in the ledger
STAGES = (
    "download", "extract", "fit", "pool", "score", "start", "base", "reweight", "release", "evaluate", "report",
    "augment", "multimodal", "suggest", "embed",
)  # fmt: skip
REVISIONS = {"download": revision.MANIFEST, "extract": revision.FEATURES}
BY_NAME = {"report": ("diva/report/web", "*")}  # taken without an import


def code() -> None:
    """data/code/<stage>.json: sha256 of each file, by its path, or a revision."""
    before, final = recorded_code(), has_published_rounds()
    made = [stage for stage in HISTORY if stage in before]
    # digests, which earlier versions of this stage wrote in the place of a revision, are of the first one
    unchanged = [stage for stage in made if final or before[stage].get("revision", 1) == REVISIONS.get(stage)]
    for stage in STAGES:
        tables.write_json(paths.code(stage), before[stage] if stage in unchanged else content(stage))
    logger.info("%d stages", len(STAGES))
    other = [stage for stage in unchanged if stage not in REVISIONS and before[stage] != content(stage)]
    if other:
        logger.info("Published rounds rest on %s: kept as earlier code made them.", ", ".join(other))


def content(stage: str) -> dict[str, Any]:
    """What a stage depends on: its revision where it has one, else digests of its files."""
    if stage in REVISIONS:
        return {"revision": REVISIONS[stage]}
    return {path: digests.sha256(library.located(Path(path))) for path in files_of(stage)}


def files_of(stage: str) -> list[str]:
    """Files of this project and of its library that a stage runs."""
    folder, pattern = BY_NAME.get(stage, ("stages", f"{stage}.py"))
    by_name = [Path(folder, path.name) for path in library.located(Path(folder)).glob(pattern)]
    return imported_files([Path("stages", f"{stage}.py"), *by_name])


if __name__ == "__main__":
    run(code)
