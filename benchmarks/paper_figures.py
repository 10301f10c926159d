"""Plots of benchmarks.paper; needs matplotlib (`pip install -e '.[bench]'`).

python -m benchmarks.paper_figures benchmarks/results/paper_*.json        (FILE.json → FILE.png)
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

DPI = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    for path in parser.parse_args().results:
        draw(json.loads(path.read_text(encoding="utf-8")), path.with_suffix(".png"))


def draw(result: dict[str, Any], path: Path) -> None:
    """All experiments that ran, side by side."""
    ran = {name: rows for name, rows in result.items() if name in PANELS and "lacks" not in rows}
    panels = [(PANELS[name], level, rows) for name, found in ran.items() for level, rows in panels_of(name, found)]
    if not panels:
        return
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6 * columns, 4.5 * rows), layout="constrained", squeeze=False)
    for axis, (panel, level, found) in zip(axes.flat, panels, strict=False):
        panel(axis, level, found)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(f"{result['pack']}: {result['train']} training rows, {result['classes']} classes")
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    plt.close(figure)
    print(path)


def panels_of(name: str, found: dict[str, Any]) -> list[tuple[str, Any]]:
    """One panel for each level of noise or loss."""
    if name in ("extend", "overfitting", "table1"):
        return list(found.items())
    return [("", found)]


def draw_table1(axis: Any, level: str, found: dict[str, Any]) -> None:
    rows = {name: row for name, row in found.items() if name != "tuned"}
    names = list(rows)[::-1]
    values = [rows[name]["error"] for name in names]
    axis.errorbar(values, names, xerr=[rows[name]["error_spread"] for name in names], fmt="o", capsize=3)
    axis.set(xlabel="test error, %", title=f"Table 1, {level}")
    axis.tick_params(axis="y", labelsize=7)
    axis.grid(axis="x", alpha=0.3)


def draw_extend(axis: Any, level: str, found: dict[str, Any]) -> None:
    for rule, points in found["curves"].items():
        middle, spread = np.array(points["mean"]), np.array(points["spread"])
        tenths = 10 * np.arange(len(middle))
        (line,) = axis.plot(tenths, middle, label=rule, color="grey" if rule == "uniform" else None)
        axis.fill_between(tenths, middle - spread, middle + spread, alpha=0.12, color=line.get_color())
    axis.set(xlabel="% of the pool added", ylabel="test error, %", title=f"Fig. 4, {level}")
    axis.legend(fontsize=7)


def draw_detection(axis: Any, _: str, found: dict[str, Any]) -> None:
    edges = np.array(found["histogram"]["edges"])
    for key in ("right", "wrong"):
        axis.stairs(found["histogram"][key], edges, fill=True, alpha=0.6, label=f"{key} labels")
    axis.axvline(0, color="black", linewidth=0.8)
    f1, auc = found["f1 at 0"]["mean"], found["auc of the derivative"]["mean"]
    axis.set(xlabel="derivative", ylabel="samples", title=f"Fig. 3: F1 {f1:.2f} at 0, AUC {auc:.3f}")
    axis.legend(fontsize=7)


def draw_augmentation(axis: Any, _: str, found: dict[str, Any]) -> None:
    settings = {name: rows for name, rows in found.items() if name != "ridge"}
    names = list(next(iter(settings.values())))
    for place, (setting, rows) in enumerate(settings.items()):
        at = np.arange(len(names)) + 0.1 * (place - (len(settings) - 1) / 2)
        shares = [rows[name]["probability"] for name in names]
        axis.errorbar(at, shares, yerr=[rows[name]["spread"] for name in names], fmt="o", capsize=3, label=setting)
    axis.axhline(1 / len(names), color="black", linewidth=0.8, linestyle=":")
    axis.set(xticks=np.arange(len(names)), xticklabels=names, ylabel="p", title="Fig. 5, augmentation")
    axis.legend(fontsize=7)


def draw_multimodal(axis: Any, _: str, found: dict[str, Any]) -> None:
    axis.plot(found["sizes"], found["uniform"], color="grey", label="uniform")
    axis.plot(found["sizes"], found["extend"], label="Extend")
    axis.axvline(found["willing"], color="black", linewidth=0.8, linestyle=":")
    axis.set(xlabel="names added", ylabel="test error, %", title=f"Fig. 5, {found['shots']} images a class")
    axis.legend(fontsize=7)


def draw_overfitting(axis: Any, level: str, found: dict[str, Any]) -> None:
    for key in ("leave-one-out error", "test error"):
        axis.plot(found[key], label=key)
    axis.set(xlabel="steps of Reweight", ylabel="error, %", title=f"Validation overfitting, {level}")
    axis.legend(fontsize=7)


PANELS = {
    "table1": draw_table1,
    "extend": draw_extend,
    "detection": draw_detection,
    "augmentation": draw_augmentation,
    "multimodal": draw_multimodal,
    "overfitting": draw_overfitting,
}

if __name__ == "__main__":
    main()
