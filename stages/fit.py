"""Stage ``fit``: ridge and temperature by leave-one-out on the core, once; the core's moments."""

import logging
from typing import Any

from diva.curation import rows, tasks
from diva.curation.core_consensus import agree
from diva.curation.neighbours import without_test
from diva.curation.posing import Posed
from diva.store import columns, index, manifest, paths, tables
from stages.command import run
from stages.params import section
from stages.params.duplicates import Duplicates
from stages.params.fit import Fit

logger = logging.getLogger(__name__)


def fit() -> None:
    """data/fit: the core's index without images of the test set, the problem posed, its moments."""
    settings, duplicates = section.read("fit", Fit), section.read("duplicates", Duplicates)
    core, test = index.read_batch("core"), index.read_batch("test")
    tested = manifest.read(paths.manifest("test"))["sample_id"]
    core, refused = without_test(core, tested, test, duplicates.near_duplicate, duplicates.near_test)
    further = columns.described(core, manifest.read(paths.manifest("core"), further=True))
    agreement = agree(further, settings.normalize, settings.device)
    core, further = (core, further) if agreement is None else (agreement.core.select(core.columns), agreement.core)
    posed = tasks.of_core().pose(core, len(refused), duplicates.group, **settings.model_dump())
    rows.write_problem(posed.problem, posed.moments, posed.scaling)
    index.write(paths.CORE, further)
    if agreement is not None:
        tables.write(paths.ANNOTATORS, agreement.annotators, tables.OpenSchema())
        tables.write(paths.VOTES, agreement.samples, tables.OpenSchema())
    if posed.groups is not None:
        tables.write(paths.RELATIVES, posed.groups, index.RELATIVES)
    tables.write(paths.quarantine("fit", "core"), refused, manifest.QUARANTINE)
    report(posed, len(core), {} if agreement is None else agreement.figures)


def report(posed: Posed, samples: int, agreed: dict[str, Any]) -> None:
    """Metrics and a line for the log."""
    problem = posed.problem
    numbers = {"ridge": problem.ridge, "temperature": problem.temperature, "loo_error": problem.loo_error}
    counts: dict[str, Any] = {"samples": samples, "classes": len(problem.classes), "excluded": problem.excluded}
    counts |= {"task": problem.task} if problem.task != "classification" else {}
    said = {"caveat": posed.caveat} if posed.caveat else {}
    tables.write_json(paths.metrics("fit"), numbers | counts | posed.model.accuracy | posed.related | said | agreed)
    for warning in filter(None, (posed.message, posed.caveat)):
        logger.warning("%s", warning)
    logger.info("ridge %g, temperature %.3g, leave-one-out error %.4f", *numbers.values())


if __name__ == "__main__":
    run(fit)
