"""Labels called wrong, by ours or another method, and as a table: for the core's scores and for the rounds."""

import logging
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast, get_args

import polars as pl
from torch import Tensor

from diva.curation import rows
from diva.curation.detect import Suspicion, detect
from diva.numerics.precision import fit_ridge
from diva.numerics.ridge import RidgeModel
from diva.text.choices import Action, Rule, Score

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CleanUp:
    """What is done about labels called wrong.

    Attributes:
        score: name of the method whose scores call them so.
        rule: how many are called wrong.
        action: what is done to them.
        second_round: whether the scores are of a second fit, without hopeless rows.
        by_class: whether the rule `rate` also judges class by class.
    """

    score: str
    rule: Rule
    action: Action
    second_round: bool
    by_class: bool


class Methods(Protocol):
    """Other ways to value samples, by name: `diva.methods.registry`, which a stage brings along."""

    def scores(self, name: str, features: Tensor, labels: Tensor, /, *, classes: int) -> Tensor:
        """How suspicious each sample is (n,), high = suspicious."""

    def order(
        self, name: str, core: Tensor, core_labels: Tensor, pool: Tensor, pool_labels: Tensor, /, *, classes: int
    ) -> Tensor:
        """Positions of the pool's samples, best first."""


class Scores(NamedTuple):
    """What is said of samples: a table (`diva.store.curated.SCORES`), the share of wrong labels, words, the model."""

    table: pl.DataFrame
    rate: float
    message: str
    model: RidgeModel


def score(
    frame: pl.DataFrame, problem: rows.Problem, clean_up: CleanUp, methods: Methods, groups: Tensor | None = None
) -> Scores:
    """What a method and a rule say of the rows of ``frame``."""
    suspicion = suspect(rows.prepared(frame, problem), problem, clean_up, methods, groups)
    table = as_table(frame["sample_id"], suspicion, problem.classes)
    return Scores(table, suspicion.rate, suspicion.message, suspicion.model)


def suspect(
    chunks: rows.Rows, problem: rows.Problem, clean_up: CleanUp, methods: Methods, groups: Tensor | None = None
) -> Suspicion:
    """Scores by the method, flags by the rule; margin, suggestion and derivative are ours in any case."""
    score, classes = clean_up.score, len(problem.classes)
    own = score in get_args(Score)  # one fit gives all of them, streamed
    given = cast(Score, score) if own else methods.scores(score, *rows.gathered(chunks), classes=classes)
    suspicion = detect(
        fit_ridge(chunks, classes, problem.ridge, groups=groups), score=given, rule=clean_up.rule,
        by_class=clean_up.by_class, second_round=clean_up.second_round, with_derivative=True,
    )  # fmt: skip
    if suspicion.message:
        logger.warning("%s", suspicion.message)
    return suspicion


def as_table(sample_id: pl.Series, suspicion: Suspicion, classes: list[str]) -> pl.DataFrame:
    """One row per sample: score, margin, flag, suggested label, derivative."""
    return pl.DataFrame(
        {
            "sample_id": sample_id,
            "score": suspicion.score.numpy(),
            "margin": suspicion.margin.numpy(),
            "flagged": suspicion.flagged.numpy(),
            "suggested_label": [classes[code] for code in suspicion.suggested.tolist()],
            "derivative": suspicion.derivative.numpy(),
        },
        schema_overrides={"suggested_label": pl.String},
    )
