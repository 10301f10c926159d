"""A trial: heads trained on frames of rows, all tested on one frame."""

import numpy as np
import polars as pl
import torch

from diva.curation.evaluation import Errors, Head, bootstrap, train_by_leave_one_out
from diva.curation.reweight import reweight
from diva.numerics.precision import fit_ridge
from stages import rows
from stages.params.evaluate import Evaluate
from stages.params.reweight import Reweight


class Trial:
    """Trains heads and tests them.

    Args:
        settings: draws and seeds.
        fit: the problem that ``fit`` posed; λ is chosen anew, by leave-one-out on each training set, from its grid.
        test: rows that test.
        classes: of all rows.
        held: ids that must not train, because they test.
    """

    def __init__(
        self, settings: Evaluate, fit: rows.Fit, test: pl.DataFrame, classes: list[str], held: set[str]
    ) -> None:
        self.settings, self.fit, self.classes, self.held = settings, fit, classes, held
        self.test = self.chunks(test)
        self.grid = [entry["ridge"] for entry in fit.grid]

    def chunks(self, frame: pl.DataFrame) -> rows.Rows:
        """A frame's rows for the closed forms."""
        return rows.prepared(frame, self.classes, self.fit)

    def train(self, frame: pl.DataFrame, weights: torch.Tensor | None = None) -> Head:
        """The head of a training set, without what is held out."""
        kept = ~frame["sample_id"].is_in(list(self.held))
        alpha = None if weights is None else weights[torch.from_numpy(kept.to_numpy())]
        return train_by_leave_one_out(self.chunks(frame.filter(kept)), len(self.classes), self.grid, alpha)

    def errors(self, head: Head) -> Errors:
        """1 where a test sample is misclassified."""
        return (~head.correct(self.test)).double().numpy()

    def interval(self, errors: Errors, key: str = "error") -> dict[str, float]:
        """Mean and bounds under the names of the metrics."""
        found = bootstrap(errors, self.settings.draws, self.settings.seed)
        prefix = "" if key == "error" else f"{key}_"
        return {key: found.mean, f"{prefix}low": found.low, f"{prefix}high": found.high}

    def weigh(self, frame: pl.DataFrame, settings: Reweight) -> torch.Tensor:
        """Weights of a frame, as the stage ``reweight`` would choose them."""
        return reweight(
            fit_ridge(self.chunks(frame), len(self.classes), self.fit.ridge),
            loss=settings.loss, steps=settings.steps, step_size=settings.step_size, seed=settings.seed,
        ).weights  # fmt: skip

    def uniform(self, core: pl.DataFrame, pool: pl.DataFrame, size: int) -> list[Head]:
        """Heads of the core and a uniform choice from the pool, together ``size`` samples; several draws."""
        wanted = min(max(0, size - len(core)), len(pool))
        draws = self.settings.uniform if 0 < wanted < len(pool) else 1
        generator = np.random.default_rng(self.settings.seed)
        chosen = [sorted(generator.permutation(len(pool))[:wanted].tolist()) for _ in range(draws)]
        return [self.train(pl.concat([core, pool[some]])) for some in chosen]
