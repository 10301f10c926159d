"""Stage ``evaluate``: what each training set is worth, by the test error of the same linear head; the planted truth."""

import logging
import os
from collections.abc import Iterator, Sequence

import polars as pl

from diva.curation import panel, planted, slices, tasks, trials, unused
from diva.curation.drift import drifts
from diva.curation.neighbours import feature_rows
from diva.curation.network_panel import finetuned as judged
from diva.curation.round import Basis
from diva.curation.rows import read_problem
from diva.methods import registry
from diva.numerics.residence import rows_stay
from diva.store import columns, curated, evaluation, index, ledger, manifest, moments, paths, release, tables
from diva.store.decisions import FORGOTTEN_ROW
from diva.store.features import FeatureFile
from diva.text.progress import track
from stages.command import run
from stages.params import section
from stages.params.evaluate import Evaluate
from stages.params.extract import Extract
from stages.params.reweight import Reweight
from stages.policy import policy

logger = logging.getLogger(__name__)


@rows_stay()
def main() -> None:
    """data/metrics/evaluate.json and data/evaluation."""
    settings, weighing, book = section.read("evaluate", Evaluate), section.read("reweight", Reweight), ledger.read()
    core, newest, problem = index.read(paths.CORE), ledger.newest_pool(book), read_problem()
    pool, state, review = index.read(paths.pool(newest)), curated.read(book.latest), release.obeyed(book)
    groups, test = index.groups(core, pool), index.read_batch("test")
    task, familiar = tasks.of(problem), problem.familiar(test["label"])
    judging = task.trials()
    exam = trials.exam(core, test, familiar, settings.held_out, settings.seed, groups)
    problem = problem.with_classes(pool["label"], state["label"])
    chosen = settings.draws, settings.uniform, settings.seed, weighing.weighing
    trial = judging.trial(exam, problem, *chosen, paths.RESULTS, groups)
    members = release.weighed(state, tables.read(paths.WEIGHTS, release.WEIGHTS), pool, review)
    interim = evaluation.INTERIM in os.environ
    judges = () if interim else settings.learners
    trained, errors, learners = panel.sets(trial, core, pool, members, judges, settings.learner_rows)
    used = evaluation.release_set(tables.read_json(paths.metrics("release")))
    if settings.finetune and not interim:
        for name, figures in finetuned(trial, core, pool, members, used, settings).items():
            trained[name]["finetuned"] = figures
    drawn = panel.Drawn(newest, len(members), errors["uniform"])
    compared = panel.training_sets(trial, core, pool, members)
    suspicious, audited = judging.audit(trial, compared[used], trained[used]["ridge"])
    truths = [tables.read(paths.truth(name), manifest.TRUTH) for name in ledger.truths(book)]
    shown = state.join(review.filter(FORGOTTEN_ROW), on="sample_id", how="anti", maintain_order="left")
    metrics = {
        "test": exam.about,
        "audit": audited,
        "sets": trained,
        "learners": learners,
        "release": used,
        "warning": evaluation.warning(trained[used]),
        "rounds": panel.by_round(trial, core, sets(book), lambda name: index.read(paths.pool(name)), drawn),
        "planted": planted.judge(shown, pl.concat(truths)),
        **({"interim": True} if interim else {}),
    }
    tables.write_json(paths.metrics("evaluate"), metrics)
    classes = {name: errors[name] for name in evaluation.CLASSES if name in errors}
    evaluation.write("classes", judging.by_class(trial, compared, classes))
    ridge = trained["release_unweighted"]["ridge"]
    evaluation.write("steps", judging.steps(trial, members, ridge, settings.steps))
    counted = moments.core(problem.classes), moments.newest(book.latest, pool, problem.classes)
    write_left(Basis(state, pool, review, problem, *counted, groups), book)
    evaluation.write("audit", suspicious)
    tested = exam.rows.with_columns(wrong=pl.Series(trial.missed(errors[used])))
    write_slices(shown, core, pool, tested, (settings.noise, settings.drift))
    trial.results.prune()
    if metrics["warning"]:
        logger.warning("%s", metrics["warning"])
    logger.info("test error of the core %(error).4f [%(low).4f, %(high).4f]", trained["core"])


def write_left(basis: Basis, book: ledger.Ledger) -> None:
    """Table of what the newest round left in the pool, and why."""
    latest, task = policy(book.rounds[book.latest]) if book.latest in book.rounds else None, tasks.of(basis.problem)
    evaluation.write("left", unused.explain(basis, latest, registry, task.rules.choose, task.predicted))


def write_slices(
    state: pl.DataFrame, core: pl.DataFrame, pool: pl.DataFrame, exam: pl.DataFrame, limits: Sequence[float]
) -> None:
    """Tables of slices, of pairs of classes, and of deliveries."""
    sources = [index.whole(path, further=True) for path in (paths.CORE, paths.pool(ledger.newest_pool(ledger.read())))]
    named = columns.described(exam, manifest.read(paths.manifest("test"), further=True), *sources)
    observed = slices.observations(
        state, evaluation.read("left"), tables.read(paths.WEIGHTS, release.WEIGHTS), *sources
    )
    observed, named = manifest.numeric(observed), manifest.numeric(named)
    worst, test = slices.ranked(observed), slices.ranked(named, {"label": slices.CLASS})
    every = [frame.select(pl.lit(of).alias("of"), pl.all()) for of, frame in (("labels", worst), ("test", test))]
    evaluation.write("slices", pl.concat(every).select(list(evaluation.SLICES)))
    evaluation.write("pairs", slices.pairs(observed))
    evaluation.write("columns", observed.drop(name for name in observed.columns if name in slices.SAID))
    batches = pool.partition_by("batch", as_dict=True)
    drift = drifts(feature_rows(core), {str(name): feature_rows(rows) for (name,), rows in batches.items()})
    evaluation.write("deliveries", slices.deliveries(worst, drift, limits))


def finetuned(
    trial: trials.Trial, core: pl.DataFrame, pool: pl.DataFrame, members: pl.DataFrame, used: str, settings: Evaluate
) -> dict[str, dict[str, float]]:
    """Figures of the network of ``extract``, fine-tuned on the images of the core, of the release, and of everything.

    Raises:
        ValueError: the features were delivered ready.
    """
    from diva.vision import tuning  # seconds that other evaluations need not wait
    from diva.vision.image_features import NetworkSettings, load_network

    network = section.read("extract", Extract)
    if FeatureFile(paths.features("core")).attributes["backbone"] == "ready":
        raise ValueError(f"evaluate.finetune must be 0 where features were delivered ready, got {settings.finetune}.")
    backbone, transform = load_network(NetworkSettings(**network.model_dump(exclude={"dtype"})))
    how = tuning.Tuning(settings.finetune, seed=settings.seed, device=network.device)
    compared = panel.training_sets(trial, core, pool, members)
    asked = {name: compared[name] for name in ("core", used, "everything")}
    return judged(trial, asked, tuning.judge(backbone, transform, how), (network.model_dump(), how))


def sets(book: ledger.Ledger) -> Iterator[tuple[str, pl.DataFrame, str | None]]:
    """Every curated set there is, and the pool that its round drew from."""
    names = ledger.sets(book)
    for name in track(names, len(names), "rounds"):
        yield name, curated.read(name), book.rounds[name].pool if name in book.rounds else None


if __name__ == "__main__":
    run(main)
