"""What may be claimed of the training sets: how large the release's gain is, on what it rests, how to get the best."""

from collections.abc import Mapping
from typing import Any

from diva.report.run_metrics import RunMetrics
from diva.store import paths
from diva.text.words import count, percent

SETS = {
    "core": "core",
    "release_weighted": "members, with weights",
    "release_unweighted": "members",
    "release_unflagged": "members, flagged out",
    "release_unflagged_weighted": "members, flagged out, with weights",
    "everything": "everything",
    "everything_reweighted": "everything, reweighted",
    "uniform": "uniform, of equal size",
}
RECIPES = {
    "release_weighted": "release.weights: always and release.flagged: keep",
    "release_unweighted": "release.weights: never and release.flagged: keep",
    "release_unflagged": "release.weights: never and release.flagged: out",
    "release_unflagged_weighted": "release.weights: always and release.flagged: out",
    "everything": "release.set: everything, release.weights: never and release.flagged: keep",
    "everything_reweighted": "release.set: everything, release.weights: always and release.flagged: keep",
}
FEW_TESTS = 200  # samples of a test set, below which one is worth half a point and more
FEW = 1  # learners on which a gain rests that is no gain of the panel's


def panels(run: RunMetrics) -> dict[str, Mapping[str, Any]]:
    """What several learners say of each training set, in the order they are shown; empty where one alone judges."""
    figures = {name: run.evaluate["sets"][name].get("panel", {}) for name in order(run)}
    several = all(len(panel.get("learners", {})) > 1 for panel in figures.values())
    return figures if figures and several else {}


def order(run: RunMetrics) -> list[str]:
    """Names of the training sets in the order they are shown."""
    results = run.evaluate["sets"]
    return [name for name in SETS if name in results] + [name for name in results if name not in SETS]


def shown(name: str) -> str:
    """A training set in words."""
    return SETS.get(name, name.replace("_", " "))


def judged(figures: Mapping[str, Any]) -> str:
    """Whether the interval of a difference in error to the core says better, worse, or (empty) neither."""
    return "better" if figures["difference_high"] < 0 else "worse" if figures["difference_low"] > 0 else ""


def mean(run: RunMetrics, name: str) -> Mapping[str, Any]:
    """Error of a training set and difference to the core's: the mean over learners, where several judge."""
    figures = run.evaluate["sets"][name]
    return panels(run)[name]["mean"] if panels(run) else figures  # type: ignore[no-any-return]


def best(run: RunMetrics) -> str:
    """Name of the training set of the lowest error; the release itself where it ties."""
    return min(order(run), key=lambda name: (mean(run, name)["error"], name != run.used))


def surely_best(run: RunMetrics) -> bool:
    """Whether the set of the lowest error beats the release by more than chance, on labels that a test set vouches for.

    Rows held out of the core do not count: where their labels are wrong, they prefer what learned the same mistakes.
    """
    above: float = mean(run, best(run)).get("release_difference_high", 0.0)
    return run.evaluate["test"]["kind"] == "test" and above < 0


def gain(run: RunMetrics) -> str:
    """What the release is worth beside the core and the best set."""
    release, core = mean(run, run.used), mean(run, "core")
    judges = f", the mean of {len(panels(run)[run.used]['learners'])} learners" if panels(run) else ""
    low, high = (percent(release[f"difference_{end}"], 1, signed=True) for end in ("low", "high"))
    change = f"{percent(release['difference'], 1, signed=True)} points [{low}, {high}]"
    where = "on the test set" if run.evaluate["test"]["kind"] == "test" else "on held-out rows of the core"
    text = f"trained on the release the error {where} is {percent(release['error'], 1)} %, on the core "
    text += f"{percent(core['error'], 1)} %: {change}{judges}"
    if best(run) == run.used:
        return f"{text}; no set is better"
    if not surely_best(run):
        return f"{text}; no set is better for sure"
    return f"{text}; the set “{shown(best(run))}” is better for sure, {percent(mean(run, best(run))['error'], 1)} %"


def recipe(run: RunMetrics) -> str:
    """How to get the set of the lowest error, where it is worth having."""
    name = best(run)
    if name == run.used:
        return f"★ {shown(name)} is the release: {paths.TRAIN.as_posix()}."
    if not surely_best(run):
        held_out = run.evaluate["test"]["kind"] != "test"
        why = "judged on labels that may be wrong" if held_out else "by no more than chance beside the release"
        return f"★ {shown(name)} has the lowest error, {why}: the settings may stay."
    how = f"set {RECIPES[name]} in params.yaml, then diva run" if name in RECIPES else "no setting makes it"
    how = f"it lies in {paths.CORE.as_posix()}" if name == "core" else how
    return f"★ {shown(name)} has the lowest error; {how}."


def fragile(run: RunMetrics) -> tuple[str, ...]:
    """Warnings where the release's gain is within noise, or rests on one learner."""
    release = mean(run, run.used)
    if run.used == "core" or not release["difference"] < 0:
        return ()
    low, high = (percent(release[f"difference_{end}"], 1, signed=True) for end in ("low", "high"))
    warnings = []
    if not judged(release):
        gained = f"{percent(-release['difference'], 1)} points over the core is within noise"
        warnings.append(f"The release's gain of {gained}: its interval, {low} to {high}, holds 0.")
    each = panels(run)[run.used]["learners"] if panels(run) else {}
    gaining = [name for name in each if judged(each[name]) == "better"]
    if each and len(gaining) == FEW:
        others = count(len(each) - FEW)
        warnings.append(f"One learner alone gains by the release for sure, {gaining[0]}; of {others} none else does.")
    return tuple(warnings)


def coarse(run: RunMetrics) -> tuple[str, ...]:
    """A warning where one test sample more or less moves the error by what looks like a result."""
    samples = run.evaluate["test"].get("samples", 0)
    if not 0 < samples < FEW_TESTS:
        return ()
    worth = percent(1 / samples, 1)
    return (f"The test set is small: one of its {count(samples)} samples is {worth} points; a few points are chance.",)


def gains(figures: Mapping[str, Any]) -> tuple[str, ...]:
    """On which learners the release's gain over the core rests."""
    lines = []
    for verdict in ("better", "worse"):
        names = [
            f"{learner} ({percent(each['difference'], 1, signed=True)})"
            for learner, each in figures["learners"].items()
            if judged(each) == verdict
        ]
        lines.append(f"The release is {verdict} than the core for {', '.join(names) or 'no learner'}.")
    if any(judged(each) for each in figures["learners"].values()):
        return tuple(lines)
    all_together = "; their mean does." if judged(figures["mean"]) else "."
    return (f"No learner alone tells the release from the core for sure{all_together}",)
