"""Plots of the results, from their JSON; needs matplotlib (`pip install -e '.[bench]'`).

python -m benchmarks.figures benchmarks/results/methods_digits.json …        (FILE.json → FILE.png)
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

FRACTIONS = (10, 20, 50)
LEFT_OUT = ("soft, ridge given", "OpenDataVal, KNN-Shapley")  # as good as the same as another line
DPI = 110


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    for path in parser.parse_args().results:
        result = json.loads(path.read_text(encoding="utf-8"))
        figure = draw_methods(result) if "methods" in result else draw_values(result)
        figure.savefig(path.with_suffix(".png"), dpi=DPI, metadata={"Software": None})
        plt.close(figure)
        print(path.with_suffix(".png"))


def draw_methods(result: dict[str, Any]) -> Any:
    """Detection against time, and the error of the best share."""
    rows = {label: row["mean"] for label, row in result["methods"].items() if "mean" in row}
    everything = rows.pop("everything")["error_all"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 6), layout="constrained")
    for i, (label, row) in enumerate(rows.items()):
        if "auroc" in row:
            at = row["cpu_seconds"], row["average_precision"]
            left.scatter(*at, marker="s" if is_peer(label) else "o")
            left.annotate(label, at, xytext=(6, 9 * (i % 3) - 9), textcoords="offset points", fontsize=7)
        if "error_chosen" in row:
            right.scatter(100 * row["chosen"], row["error_chosen"], marker="*", s=90, color="black", label=label)
        elif label not in LEFT_OUT:
            right.plot(FRACTIONS, [row[f"error_best_{share}%"] for share in FRACTIONS], **style(label), label=label)
    left.set(xscale="log", xlabel="CPU seconds", ylabel="average precision of finding wrong labels")
    left.set_title(f"{result['pack']}: {result['wrong']} of {result['samples']} labels wrong (squares: peers)")
    right.axhline(everything, color="black", linewidth=0.8, linestyle=":")
    right.set(xlabel="% kept, the best by each method", ylabel="test error, % (dotted: everything)")
    right.legend(fontsize=7, ncols=2)
    return figure


def is_peer(label: str) -> bool:
    """Whether it is not ours."""
    return label.startswith(("cleanlab", "pyDVL", "OpenDataVal"))


def style(label: str) -> dict[str, Any]:
    """Chance in grey, peers dashed."""
    if label in ("uniform", "balanced_uniform"):
        return {"color": "grey", "linewidth": 3, "alpha": 0.5 if label == "uniform" else 0.9}
    return {"linestyle": "--" if is_peer(label) else "-", "linewidth": 1.2}


def draw_values(result: dict[str, Any]) -> Any:
    """Removal without and with wrong labels, and the detection curve."""
    figure, axes = plt.subplots(1, 3, figsize=(16, 5), layout="constrained")
    for axis, (noise, curves) in zip(axes, result["removal"].items(), strict=False):
        shares = [100 * share for share in curves.pop("shares")]
        colours = iter(plt.rcParams["axes.prop_cycle"].by_key()["color"])
        for label, curve in curves.items():
            lowest = label.endswith("lowest")
            colour = "grey" if label == "random" else next(colours) if lowest else colour  # noqa: F821  # the last one's
            axis.plot(shares, curve, color=colour, linestyle="-" if lowest else "--", label=label)
        axis.set(xlabel="% removed", ylabel="test error, %", yscale="log", title=f"{float(noise):.0%} wrong labels")
        axis.legend(fontsize=7)
    curves = result["detection"]
    shares = [100 * share for share in curves.pop("shares")]
    for label, curve in curves.items():
        axes[2].plot(shares, [100 * share for share in curve], label=label)
    axes[2].set(xlabel="% inspected, most suspicious first", ylabel="% of wrong labels found", title=result["pack"])
    axes[2].legend(fontsize=7)
    return figure


if __name__ == "__main__":
    main()
