"""Weights of samples with several labels, or a number, and what they are worth on held-out rows of the core.

As `diva.curation.weighed_sets`, with the loss of entries or of squares: `calibrated` trims squares and not entries,
whose share of wrong ones gains only so; `auto` takes three steps. On held-out rows the ridge head judges, by the mean
loss of a row's entries.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import torch
from torch import Tensor

from diva.curation import target_extend, target_round, target_rows
from diva.curation.benefit import HeldOut, Members
from diva.curation.learners import Array
from diva.curation.reweight import Step, WeightPath, folds_needed
from diva.curation.round import corrections
from diva.curation.rows import Problem
from diva.curation.weighed_sets import CLEAN_UP, ToWeigh, WeighedSet, masks
from diva.numerics.chunks import Subset
from diva.numerics.losses import Loss
from diva.numerics.targets import (
    TargetFit,
    TargetLoss,
    fit_targets,
    loo_predictions_of_targets,
    reweight_targets,
    stepped,
    target_derivative,
    target_margins,
)
from diva.text.progress import track

STEPS = 3  # where `auto` is asked for


@dataclass(frozen=True)
class Weighing:
    """Loss, steps and size of a step."""

    loss: TargetLoss
    steps: int
    step_size: float

    @classmethod
    def of(cls, problem: Problem, *, loss: str, steps: int | str, step_size: float, seed: int) -> "Weighing":
        """From the settings of Reweight; ValueError on a loss of classes alone."""
        del seed
        trims = {"calibrated": problem.task == "regression", "all": False, "trimmed": True}
        if loss not in trims:
            raise ValueError(
                f"reweight.loss must be one of {', '.join(trims)} where the task is {problem.task}, got {loss}."
            )
        return cls(target_rows.loss_of(problem, trims[loss]), STEPS if isinstance(steps, str) else steps, step_size)

    def walk(self, start: TargetFit) -> Iterator[tuple[TargetFit, Tensor, float]]:
        """The model, its derivative and its loss after 0, 1, … steps."""
        fitted = start
        for step in range(self.steps + 1):
            derivative, loss = target_derivative(fitted, self.loss)
            yield fitted, derivative, loss
            if step < self.steps:
                fitted = stepped(fitted, derivative, self.step_size)

    def path(self, start: TargetFit) -> WeightPath:
        """Weights, with derivative and margin at their start."""
        walked = list(self.walk(start))
        entries = float(start.targets.numel())
        history = tuple(Step(loss, entries, float(derivative.abs().max())) for _, derivative, loss in walked[:-1])
        seen = loo_predictions_of_targets(start).values
        margin = target_margins(self.loss.name, seen, start.targets).amin(1)
        used = Loss("calibrated", temperature=self.loss.temperature)
        return WeightPath(weights_of(walked[-1][0]), walked[0][1], margin, history, used, start.model)


def weights_of(fitted: TargetFit) -> Tensor:
    """α (n,)."""
    return torch.ones(len(fitted.targets)).double() if fitted.weights is None else fitted.weights


class HeldOutLosses(HeldOut):
    """Losses of held-out rows in the place of margins."""

    def of(self, weighted: bool) -> list[Array]:
        """Losses of each learner."""
        return [self.margins[name, weighted] for name in self.learners]


def weigh(asked: ToWeigh, weighing: Mapping[str, Any], *, folds: int, flagged_out: bool, judged: bool) -> WeighedSet:
    """A set with its weights; arguments as of `diva.curation.weighed_sets.weigh`."""
    frame, problem = asked.frame, asked.problem
    start, (core, wrong), calls = target_rows.fitted(frame, problem), masks(frame, asked.state), None
    taken = Weighing.of(problem, **weighing)
    if judged:
        scored = target_round.scores_of(frame, start, problem)
        given = frame.select("sample_id", given_label="label")
        called = scored.table.join(given, on="sample_id", how="left", maintain_order="left")
        calls = corrections(called, CLEAN_UP, problem.task).join(asked.state, on="sample_id", how="anti")
        wrong |= torch.from_numpy(frame["sample_id"].is_in(calls["sample_id"].implode()).to_numpy())
    members = Members(start.chunks, len(problem.classes), problem.ridge, core, wrong)
    losses = hold_out(members, start, taken, folds, weighing["seed"], flagged_out)
    return WeighedSet(frame, taken.path(start), losses, calls)


def hold_out(
    members: Members, start: TargetFit, weighing: Weighing, folds: int, seed: int, flagged_out: bool
) -> HeldOutLosses:
    """Losses of held-out rows of the core, with weights and without; as `diva.curation.benefit.hold_out`."""
    if not members.core.any():
        return HeldOutLosses({}, folds)
    fold, made = members.folds(folds, seed), {True: list[Tensor](), False: list[Tensor]()}
    held_out = folds_needed(int(members.core.sum()), folds)
    for number in track(range(held_out), held_out, "folds"):
        rest, tests = fold != number, (fold == number) & members.core
        trained = fit_targets(Subset(start.chunks, rest), start.targets[rest], members.ridge)
        weights = torch.zeros(len(rest)).double()
        weights[rest] = weights_of(reweight_targets(trained, weighing.loss, weighing.steps, weighing.step_size))
        trains = rest & ~members.flagged if flagged_out else rest
        for weighted, parts in made.items():
            alpha = weights[trains] if weighted else None
            set_ = fit_targets(Subset(start.chunks, trains), start.targets[trains], members.ridge, alpha)
            outputs = target_extend.outputs_of(Subset(start.chunks, tests), set_.model)
            whole = replace(weighing.loss, trim=False)
            parts.append(whole.values(outputs, start.targets[tests]).mean(1))
    return HeldOutLosses({("ridge", key): torch.cat(parts).numpy() for key, parts in made.items()}, held_out)


def frame_weights(frame: pl.DataFrame, problem: Problem, weighing: Mapping[str, Any]) -> Tensor:
    """Weights of the rows of a frame, as the stage ``reweight`` would choose them."""
    return Weighing.of(problem, **weighing).path(target_rows.fitted(frame, problem)).weights
