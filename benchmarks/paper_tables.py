"""The paper's own figures, and the tables of benchmarks.paper as text, its figure beside ours."""

import json
from collections.abc import Callable, Iterator
from typing import Any

PAPER: dict[str, dict[str, Any]] = {  # ResNet-34, ImageNet, last layer; errors in percent
    name: {
        "reweight": {"before": row[0], "after": row[1]}, "Active Bias (Chang et al.)": row[2],
        "learning to reweight (Ren et al.)": row[3], "learning to reweight, on all": row[4],
        "extend": {"uniform": row[5], "extend": row[6]}, "detection": {"f1": row[7], "auc": row[8]},
    }
    for name, row in {
        "aircraft": (57.58, 54.64, 70.48, 81.82, 80.62, 60.01, 58.00, 0.68, 0.90),
        "cub200": (39.30, 36.93, 57.85, 72.55, 75.35, 42.29, 39.42, 0.87, 0.98),
        "mit67": (32.54, 31.27, 37.84, 64.48, 58.06, 33.73, 32.54, 0.86, 0.98),
        "flowers102": (20.23, 19.16, 22.82, 48.80, 55.46, 23.29, 20.56, 0.83, 0.97),
        "cars": (58.91, 56.31, 75.87, 83.09, 84.50, 62.45, 60.37, 0.75, 0.93),
        "caltech256": (23.98, 21.29, 37.52, 58.44, 52.77, 24.55, 21.97, 0.92, 0.99),
    }.items()
}  # fmt: skip

SETUP: dict[str, dict[str, Any]] = {  # of the data sets' own training lists, which the paper uses
    name: {"network": "ResNet-34, ImageNet", "classes": classes, "training images a class": images}
    for name, (classes, images) in {
        "aircraft": (100, 66.7), "cub200": (200, 30.0), "mit67": (67, 80.0), "flowers102": (102, 10.0),
        "cars": (196, 41.6), "caltech256": (256, 60.0),
    }.items()
}  # fmt: skip


def set_up(result: dict[str, Any]) -> Iterator[str]:
    """What was measured on, the paper's set-up beside it."""
    ours, theirs = result["setup"]["ours"], result["setup"]["paper"]
    yield "{pack}: {train} training and {test} test rows of {features} features".format_map(result)
    for key, value in ours.items():
        if theirs is None:
            yield f"  {key:25}{value}"
        else:
            yield f"  {key:25}{value}; the paper: {theirs[key]}{'' if value == theirs[key] else ' (differs)'}"
    if theirs is None:
        yield "  The paper does not use this data set."


def told(experiment: str, result: dict[str, Any]) -> Iterator[str]:
    """The lines of one experiment."""
    found = result[experiment]
    yield f"\n{experiment} ({result['pack']}, {result['seconds'][experiment]} s)"
    if "lacks" in found:
        yield f"  not run; it lacks {found['lacks']}"
    else:
        yield from TABLES.get(experiment, plain)(found, result["paper"] or {})


def table1(found: dict[str, Any], paper: dict[str, Any]) -> Iterator[str]:
    """Errors and gains; the paper's at no noise."""
    published = {"ridge regression": paper.get("reweight", {}).get("before"), **paper}
    published["Reweight, hard_margin, 3 steps"] = paper.get("reweight", {}).get("after")
    for level, rows in found.items():
        yield f"  {level:45}{'error':>8}{'±':>6}{'gain':>8}{'±':>6}{'paper':>8}"
        for name, row in rows.items():
            if name != "tuned":
                beside = published.get(name) if level.startswith("0%") else None
                numbers = [row["error"], row["error_spread"], row["gain"], row["gain_spread"]]
                yield "  {:45}{:8.2f}{:6.2f}{:8.2f}{:6.2f}{:>8}".format(name, *numbers, beside or "")


def extend(found: dict[str, Any], paper: dict[str, Any]) -> Iterator[str]:
    """Half of the pool, the lowest point, and everything."""
    for level, rows in found.items():
        beside = paper.get("extend", {}) if level == "clean pool" else {}
        yield f"  {level}: uniform at half {rows['uniform at half']:.2f} (paper {beside.get('uniform', 'none')})"
        for rule, row in rows["at half"].items():
            lowest, stop = rows["lowest"][rule], rows["own stop"][rule]
            theirs = f" (paper {beside['extend']})" if beside and rule == "hard_margin, members" else ""
            yield (
                f"    {rule:32}{row['error']:6.2f}{theirs}  gain {row['gain']:5.2f} ± {row['gain_spread']:.2f}; lowest "
                f"{lowest['error']:.2f} at {lowest['share of the pool']:.0%}; own stop {stop['error']:.2f} at "
                f"{stop['share of the pool']:.0%}; all {lowest['all']:.2f}"
            )


def detection(found: dict[str, Any], paper: dict[str, Any]) -> Iterator[str]:
    """AUC and F1."""
    for name, row in found.items():
        if name not in ("histogram", "wrong"):
            yield f"  {name:25}{row['mean']:7.3f} ± {row['mean_spread']:.3f}"
    yield f"  paper, ε = 0: {paper.get('detection', 'none')}"


def augmentation(found: dict[str, Any], _: dict[str, Any]) -> Iterator[str]:
    """Shares of the weight."""
    for name, rows in found.items():
        if name != "ridge":
            shares = ", ".join(f"{key} {row['probability']:.3f} ± {row['spread']:.3f}" for key, row in rows.items())
            yield f"  {name:40}{shares}"


def overfitting(found: dict[str, Any], _: dict[str, Any]) -> Iterator[str]:
    """Errors at the start, after three steps, and at the end."""
    for name, rows in found.items():
        loo, test = rows["leave-one-out error"], rows["test error"]
        yield (
            f"  {name:12} after 0, 3, {len(loo) - 1} steps: leave-one-out {loo[0]:.2f}, {loo[3]:.2f}, {loo[-1]:.2f}; "
            f"test {test[0]:.2f}, {test[3]:.2f}, {test[-1]:.2f}; lowest after {rows['turns after']} steps"
        )


def plain(found: dict[str, Any], _: dict[str, Any]) -> Iterator[str]:
    """As JSON."""
    yield f"  {json.dumps(found)}"


TABLES: dict[str, Callable[[dict[str, Any], dict[str, Any]], Iterator[str]]] = {
    "table1": table1,
    "extend": extend,
    "detection": detection,
    "augmentation": augmentation,
    "overfitting": overfitting,
}
