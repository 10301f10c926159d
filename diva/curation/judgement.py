"""What the newest set is worth: its figures beside those of other training sets, and tables of where it is bad.

The stage ``evaluate`` writes what this says, and nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from diva.curation import panel, planted, slices, tasks, trials, unused
from diva.curation.drift import drifts
from diva.curation.evaluation import Errors
from diva.curation.neighbours import feature_rows
from diva.curation.round import Basis, Policy
from diva.curation.rows import Problem
from diva.curation.suspicion import Methods
from diva.store import columns, curated, evaluation, index, ledger, manifest, moments, paths, release, tables
from diva.store.decisions import FORGOTTEN_ROW
from diva.text.choices import Learner
from diva.text.progress import track


@dataclass(frozen=True)
class Newest:
    """The newest set, and what it is judged with.

    Attributes:
        book: the ledger.
        core: its index.
        pool: the newest index.
        test: index of the test set.
        state: the curated set, with what was removed from it.
        review: decisions of people that the release obeys.
        posed: the problem with the classes of the core; ``problem`` has all classes.
        groups: of core and pool (`diva.store.index.groups`).
    """

    book: ledger.Ledger
    core: pl.DataFrame
    pool: pl.DataFrame
    test: pl.DataFrame
    state: pl.DataFrame
    review: pl.DataFrame
    posed: Problem
    groups: pl.DataFrame

    @cached_property
    def problem(self) -> Problem:
        """With the classes of core, pool and set."""
        return self.posed.with_classes(self.pool["label"], self.state["label"])

    @cached_property
    def members(self) -> pl.DataFrame:
        """What the release may hold, with its weights."""
        return release.weighed(self.state, tables.read(paths.WEIGHTS, release.WEIGHTS), self.pool, self.review)

    @cached_property
    def shown(self) -> pl.DataFrame:
        """The set without what was taken down."""
        return self.state.join(self.review.filter(FORGOTTEN_ROW), on="sample_id", how="anti", maintain_order="left")

    def trial(self, held_out: float, seed: int, weighing: Mapping[str, Any], **settings: Any) -> trials.Trial:
        """What tests training sets; ``settings`` are draws and uniform of `diva.curation.trials.Trial`.

        All sets that are weighed here take as many steps of Reweight as the newest one took.
        """
        weighing = {**weighing, "steps": len(tables.read_json(paths.WEIGHTS_HISTORY)["steps"])}
        familiar = self.posed.familiar(self.test["label"])
        exam = trials.exam(self.core, self.test, familiar, held_out, seed, self.groups)
        settings |= {"seed": seed, "weighing": weighing, "folder": paths.RESULTS, "groups": self.groups}
        made: trials.Trial = tasks.of(self.posed).trials().trial(exam, self.problem, **settings)
        return made

    def remaining(self, policy: Policy | None, methods: Methods) -> pl.DataFrame:
        """What the newest round left in the pool, and why; see `diva.curation.unused.explain`."""
        counted = moments.core(self.problem.classes), moments.newest(self.book.latest, self.pool, self.problem.classes)
        basis, task = (
            Basis(self.state, self.pool, self.review, self.problem, *counted, self.groups),
            tasks.of(self.posed),
        )
        return unused.explain(basis, policy, methods, task.rules.choose, task.predicted)

    def rounds(self) -> Iterator[tuple[str, pl.DataFrame, str | None]]:
        """Every curated set there is, and the pool that its round drew from."""
        names, drawn = ledger.sets(self.book), self.book.rounds
        for name in track(names, len(names), "rounds"):
            yield name, curated.read(name), drawn[name].pool if name in drawn else None


def newest(posed: Problem) -> Newest:
    """The newest set, from disk."""
    book = ledger.read()
    core, pool = index.read(paths.CORE), index.read(paths.pool(ledger.newest_pool(book)))
    state, review, test = curated.read(book.latest), release.obeyed(book), index.read_batch("test")
    return Newest(book, core, pool, test, state, review, posed, index.groups(core, pool))


@dataclass(frozen=True)
class Comparison:
    """Training sets side by side.

    Attributes:
        subject: what is judged.
        trial: what tests.
        compared: the sets by name.
        trained: figures of each set.
        errors: 1 for each test sample that its head gets wrong.
        learners: how each was set.
        used: name of the set that the release is.
    """

    subject: Newest
    trial: trials.Trial
    compared: dict[str, trials.Training]
    trained: dict[str, dict[str, Any]]
    errors: dict[str, Errors]
    learners: dict[str, Any]
    used: str

    @cached_property
    def audited(self) -> tuple[pl.DataFrame, dict[str, Any]]:
        """Suspicious labels of the test set, and what is said of all."""
        ridge = self.trained[self.used]["ridge"]
        audited: tuple[pl.DataFrame, dict[str, Any]] = (
            tasks.of(self.subject.posed).trials().audit(self.trial, self.compared[self.used], ridge)
        )
        return audited

    def metrics(self) -> dict[str, Any]:
        """The figures."""
        subject, book = self.subject, self.subject.book
        drawn = panel.Drawn(ledger.newest_pool(book), len(subject.members), self.errors["uniform"])
        truths = [tables.read(paths.truth(name), manifest.TRUTH) for name in ledger.truths(book)]
        pools = lambda name: index.read(paths.pool(name))  # noqa: E731 - of a round
        return {
            "test": self.trial.exam.about,
            "audit": self.audited[1],
            "sets": self.trained,
            "learners": self.learners,
            "release": self.used,
            "warning": evaluation.warning(self.trained[self.used]),
            "rounds": panel.by_round(self.trial, subject.core, subject.rounds(), pools, drawn),
            "planted": planted.judge(subject.shown, pl.concat(truths)),
        }

    def tables(
        self, steps: int, policy: Policy | None, methods: Methods, limits: Sequence[float]
    ) -> Iterator[tuple[str, pl.DataFrame]]:
        """What lies beside the figures, by name.

        Args:
            steps: of Reweight that are watched.
            policy: of the newest round; None where there was none.
            methods: other ways to value samples.
            limits: share of wrong labels, and drift, from which a delivery raises an alert.
        """
        judging, trial = tasks.of(self.subject.posed).trials(), self.trial
        shown = {name: self.errors[name] for name in evaluation.CLASSES if name in self.errors}
        yield "classes", judging.by_class(trial, self.compared, shown)
        yield "steps", judging.steps(trial, self.subject.members, self.trained["release_unweighted"]["ridge"], steps)
        yield "audit", self.audited[0]
        remaining = self.subject.remaining(policy, methods)
        yield "left", remaining
        tested = trial.exam.rows.with_columns(wrong=pl.Series(trial.missed(self.errors[self.used])))
        yield from where_it_is_bad(self.subject, remaining, tested, limits)


def judge(subject: Newest, trial: trials.Trial, learners: Sequence[Learner], most: int) -> Comparison:
    """Train on the newest set and on what it is compared with.

    Args:
        subject: the newest set.
        trial: what tests.
        learners: that judge beside the head; none in the midst of a night.
        most: rows that train each of them at most.
    """
    used = evaluation.release_set(tables.read_json(paths.metrics("release")))
    compared = panel.training_sets(trial, subject.core, subject.pool, subject.members)
    trained, errors, about = panel.sets(trial, compared, subject.pool, used, learners, most)
    return Comparison(subject, trial, compared, trained, errors, about, used)


def where_it_is_bad(
    subject: Newest, remaining: pl.DataFrame, tested: pl.DataFrame, limits: Sequence[float]
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Tables of slices, of pairs of classes, and of deliveries.

    Args:
        subject: the newest set.
        remaining: what it left in the pool.
        tested: the test set's rows, with `wrong` where the release errs.
        limits: see `Comparison.tables`.
    """
    pool_path = paths.pool(ledger.newest_pool(subject.book))
    sources = [index.whole(path, further=True) for path in (paths.CORE, pool_path)]
    named = columns.described(tested, manifest.read(paths.manifest("test"), further=True), *sources)
    weights = tables.read(paths.WEIGHTS, release.WEIGHTS)
    observed, named = map(manifest.numeric, (slices.observations(subject.shown, remaining, weights, *sources), named))
    worst, test = slices.ranked(observed), slices.ranked(named, {"label": slices.CLASS})
    every = [frame.select(pl.lit(of).alias("of"), pl.all()) for of, frame in (("labels", worst), ("test", test))]
    yield "slices", pl.concat(every).select(list(evaluation.SLICES))
    yield "pairs", slices.pairs(observed)
    yield "columns", observed.drop(name for name in observed.columns if name in slices.SAID)
    batches: Mapping[Any, pl.DataFrame] = subject.pool.partition_by("batch", as_dict=True)
    drift = drifts(feature_rows(subject.core), {str(name): feature_rows(rows) for (name,), rows in batches.items()})
    yield "deliveries", slices.deliveries(worst, drift, limits)
