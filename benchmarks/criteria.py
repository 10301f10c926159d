"""What draws of figures say: means, what must hold of them, and where a release is worse than doing nothing.

A draw is a figure by its name, such as `flowers clean: svm, all`; draws need not hold the same ones.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from diva.curation.learners import TRAINERS

Draws = Sequence[dict[str, float]]
RELEASE = "flagged out, weights auto"


def summarised(draws: Draws) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each figure over the draws that hold it."""
    names = dict.fromkeys(key for draw in draws for key in draw)
    return {key: _spread([draw[key] for draw in draws if key in draw]) for key in names}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}


def lower(draws: Draws, cell: str, base: str) -> dict[str, float]:
    """By how much a cell's error is lower than another's, in pairs; empty where no draw holds both."""
    values = [draw[base] - draw[cell] for draw in draws if cell in draw and base in draw]
    return {**_spread(values), "error": np.std(values, ddof=1) / len(values) ** 0.5} if len(values) > 1 else {}


def passes(draws: Draws) -> list[str]:
    """Each criterion of `sets` with its figure."""
    lines = []
    for cell, base, least in _criteria():
        if gain := lower(draws, cell, base):
            about = f"{cell} is lower than {base.rpartition(': ')[2]} by {least:+.1f} or more"
            verdict = "pass" if gain["mean"] >= least else "MISS"
            lines.append(f"{verdict}  {about}: {gain['mean']:+.2f} ± {gain['sd']:.2f}")
    return lines


def _criteria() -> list[tuple[str, str, float]]:
    """A cell, another, and by how many points the first's mean error must be lower."""
    demands = []
    for about in ("flowers uniform 20 %: ", "cifar10n human: "):
        for learner in ("ridge", "logistic", "svm", "mlp"):
            least = 0.0 if (about[0], learner) == ("c", "ridge") else 1.0
            demands.append((f"{about}{learner}, {RELEASE}", f"{about}{learner}, all", least))
        for learner in ("logistic C = 10", "svm"):
            demands.append((f"{about}{learner}, {RELEASE}", f"{about}{learner}, oracle", -1.5))
    for learner, other in itertools.product(TRAINERS, ("uniform", "everything")):
        demands.append((f"extend: {learner}, release, weights auto", f"extend: {learner}, {other}", 0.0))
    return demands


def worse(draws: Draws) -> list[str]:
    """Cells in which a release is worse than doing nothing by more than one standard error of the difference."""
    bases = {"flagged out": ["all"], RELEASE: ["all"]}
    bases |= {name: ["core", "everything"] for name in ("release", "release, weights auto")}
    listed = []
    for key in summarised(draws):
        learner, _, set_ = key.partition(", ")
        for base in bases.get(set_, ()):
            gain = lower(draws, key, f"{learner}, {base}")
            if gain and -gain["mean"] > gain["error"]:
                listed.append(f"{key} − {base}: {-gain['mean']:+.2f} ± {gain['error']:.2f}")
    return listed


def by_steps(draws: Draws) -> list[str]:
    """How much lower the error is with `steps: auto` than with 3 steps, and in how many cells."""
    cells = [key for key in summarised(draws) if key.endswith("weights auto")]
    gains = {key: gain for key in cells if (gain := lower(draws, key, key.replace("auto", "3")))}
    lines = [f"{key} than 3 steps: {gain['mean']:+.2f} ± {gain['sd']:.2f}" for key, gain in gains.items()]
    count = sum(gain["mean"] >= 0 for gain in gains.values())
    return [*lines, f"{count} of {len(gains)} not worse"] if gains else []


def gate_verdict(draws: Draws) -> list[str]:
    """What must hold of `gate`: what weights that are kept do, and whether those that gain a point are kept."""
    lines = []
    for about in [key.removesuffix(": kept") for key in summarised(draws) if key.endswith(": kept")]:
        those = [(draw[f"{about}: kept"], draw[f"{about}: test gain"]) for draw in draws if f"{about}: kept" in draw]
        gains = [gain for stay, gain in those if stay]
        good = [stay for stay, gain in those if gain >= 1]
        mean = f"{np.mean(gains):+.2f} ± {np.std(gains):.2f} points, the least {min(gains):+.2f}" if gains else "–"
        shown = f"{sum(good):.0f} of {len(good)} draws in which they gain 1 point or more"
        lines.append(f"{about}: kept in {len(gains)} of {len(those)} draws, where they gain {mean}; in {shown}")
    return lines
