"""What the stages that compute will take, from a short measurement on a few rows.

Three kinds of work make up most of a run. Each is done with the functions that the stages call, on ever more rows until
that takes `LONG`, and is taken to grow on as

    head          λ by leave-one-out, and the model                       a + bn
    derivatives   five side by side, as Reweight takes them               a + bn
    a learner     of the panel; at most `evaluate.learner_rows` rows      cnᵉ

How often the stages do it is counted here. How many steps Reweight takes, and how many samples rounds add, only a run
will tell: `STEPS`, and as many as they may.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch

from diva.curation.additions import samples_of
from diva.curation.learners import MOST_ROWS, PENALTIES, TrainingSet, answer
from diva.curation.reweight import FOLDS, folds_needed
from diva.numerics import device
from diva.numerics.chunks import InMemory
from diva.numerics.derivative import dataset_derivative
from diva.numerics.grid import choose_ridge
from diva.numerics.losses import Loss
from diva.numerics.normalize import Prepared
from diva.numerics.passes import together
from diva.numerics.precision import fit_ridge
from diva.numerics.residence import Resident, budget, turned
from diva.text.choices import Learner
from diva.text.progress import track

Array = npt.NDArray[Any]
Sections = Mapping[str, Mapping[str, Any]]

MOST = 16_000  # rows that are measured at most
FEWEST, LONG = 250, 0.5  # rows of the first measurement, seconds of the last
ABREAST = 1 + FOLDS  # descents of Reweight: folds that are watched, and none
STEPS = 4  # of `reweight.steps: auto`, which takes 2 to 6 and watches one more
TRAINS = 0.8  # share of rows that train where the others are held out
NOISY = 0.2  # labels of made-up rows that are wrong
LEARNERS: tuple[Learner, ...] = ("ridge", "logistic", "svm", "knn", "mlp")


class Sizes(NamedTuple):
    """Rows of core, pool and test set, and rounds."""

    core: int
    pool: int
    test: int
    rounds: int


@dataclass(frozen=True)
class Law:
    """Seconds by rows, from measured ``points`` (rows, seconds): a power of the rows, or else a straight line."""

    points: tuple[tuple[int, float], ...]
    power: bool = False

    def __call__(self, n: int) -> float:
        """Seconds of n rows."""
        last, seconds = self.points[-1]
        if len(self.points) == 1 or n <= self.points[0][0]:
            return self.points[0][1] * n / self.points[0][0]
        before, less = self.points[-2]
        if self.power:
            exponent = np.clip(np.log(seconds / less) / np.log(last / before), 0.5, 2)
            return float(seconds * (n / last) ** exponent)
        return max(0.0, seconds + (n - last) * max(0.0, seconds - less) / (last - before))


def law(work: Callable[[int], object], most: int, *, power: bool = False) -> Law:
    """The law of ``work(n)``, measured on ever twice as many rows, at most so many."""
    points, n = list[tuple[int, float]](), most >> max(0, int(np.log2(most / FEWEST)))
    while n <= most and (len(points) < 2 or points[-1][1] < LONG):
        begun = time.perf_counter()
        work(n)
        points.append((n, time.perf_counter() - begun))
        n *= 2
    return Law(tuple(points), power)


def made_up(n: int, width: int, classes: int) -> tuple[Array, Array]:
    """Features (n, p) around a centre a class, and codes (n,), some of them wrong."""
    random = np.random.default_rng(0)
    labels = np.arange(n) % classes
    centres = random.standard_normal((classes, width), np.float32)
    features = 0.25 * centres[labels] + random.standard_normal((n, width), np.float32)
    return features, np.where(random.random(n) < NOISY, random.permutation(labels), labels)


def measure(features: Array, labels: Array, test: int, values: Sections) -> dict[str, Law]:
    """The laws of ``head``, ``derivatives`` and each learner.

    Args:
        features: (n, p).
        labels: codes (n,).
        test: rows that learners are asked about.
        values: sections of params.yaml.
    """
    fit, classes, most = values["fit"], int(labels.max()) + 1, len(labels)
    where = device.resolve(fit["device"])
    dtype, size = device.precision(where), device.chunk_size(features.shape[1] + 1, where)
    scaled = features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-9)
    tested = np.resize(scaled, (max(1, test), features.shape[1]))

    def rows(n: int) -> Resident:
        chunks = InMemory(features[:n], torch.from_numpy(labels[:n]), size)
        return Resident(Prepared(chunks, fit["normalize"], device=where, dtype=dtype))

    def head(n: int) -> object:
        return choose_ridge(rows(n), classes, fit["ridges"]).fit()

    def derivative(chunks: Resident) -> object:
        return dataset_derivative(turned(fit_ridge(chunks, classes, 1.0)), Loss("calibrated", temperature=10.0))

    def derivatives(n: int) -> object:
        return together([partial(derivative, rows(n))] * ABREAST)

    def learn(name: Learner, n: int) -> object:
        grid = PENALTIES.get(name, (1.0,))
        return answer(name, TrainingSet(scaled[:n], labels[:n]), tested, penalty=grid[len(grid) // 2], most=n)

    derivatives(min(most, FEWEST))  # the first call is slower
    works = {"head": partial(law, head, most), "derivatives": partial(law, derivatives, most)}
    works |= {name: partial(law, partial(learn, name), most, power=True) for name in _judges(values)}
    return {name: work() for name, work in track(works.items(), len(works), "measurements")}


def _judges(values: Sections) -> list[Learner]:
    """Learners of the panel beside the ridge head, and the one that Reweight's held-out rows are judged by."""
    return sorted({*cast(Sequence[Learner], values["evaluate"].get("learners", LEARNERS)), "logistic"} - {"ridge"})


def seconds(laws: Mapping[str, Law], sizes: Sizes, values: Sections) -> dict[str, float]:
    """Of the stages that compute."""
    evaluate, weighing, whole = values["evaluate"], values["reweight"], sizes.core + sizes.pool
    each_round = samples_of(values["extend"]["per_round"], sizes.pool) if sizes.pool else 0
    grown = [min(whole, sizes.core + turn * each_round) for turn in range(sizes.rounds + 1)]
    members, most, uniform = grown[-1], evaluate.get("learner_rows", MOST_ROWS), 1 + evaluate["uniform"]
    weighed = members if weighing["over"] == "members" else whole
    auto, folds, head = weighing["steps"] == "auto", folds_needed(sizes.core, weighing["folds"]), laws["head"]
    steps = STEPS if auto else weighing["steps"]

    def derivative(n: int) -> float:
        return laws["derivatives"](n) / ABREAST

    def descent(n: int, watched: int = 0) -> float:
        return (steps + 1) * (1 + watched) * derivative(n)

    def learner(name: str, n: float) -> float:
        return laws[name](int(min(n, most)))

    heads = [sizes.core, *[members] * 2, whole, *(n for n in grown[1:] for _ in range(uniform))]
    sets = [sizes.core, *[members] * 5, *[whole] * 2]
    judges = [name for name in _judges(values) if name in evaluate.get("learners", LEARNERS)]
    return {
        "fit and scores": head(sizes.core) + 3 * derivative(sizes.core),
        "rounds": sum(2 * derivative(whole) + 2 * derivative(n) for n in grown[1:]),
        "weights": descent(weighed, folds_needed(weighed, FOLDS) if auto else 0)
        + folds * steps * derivative(int(TRAINS * weighed))
        + (2 * folds + len(PENALTIES["logistic"])) * learner("logistic", TRAINS * weighed),
        "test errors": sum(map(head, heads))
        + sum(map(derivative, (members, members, whole))) / 3  # their heads with weights, at the same λ
        + descent(whole)
        + 1.5 * (evaluate["steps"] + 1) * derivative(members)
        + 2 * derivative(whole),
        "learners": sum(learner(name, n) for name in judges for n in sets)
        + sum(len(PENALTIES.get(name, ())) * learner(name, TRAINS * min(sizes.core, most)) for name in judges),
    }


def memory(rows: int, width: int, test: int, values: Sections) -> int:
    """Bytes of rows that stay between passes, and of the bootstrap's draws."""
    where = torch.device(device.resolve(values["fit"]["device"]))
    stay = 0 if where.type == "cuda" else min(budget(where), 4 * rows * (width + 1))
    return stay + 16 * int(values["evaluate"]["draws"]) * test
