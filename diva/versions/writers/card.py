"""The card of a data set: what an export holds, where it comes from, and what was found in it, as README.md."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl
import yaml

from diva.text.harmless import markdown

LICENCES = ("license", "licence")


def text(
    version: str,
    summary: dict[str, Any],
    train: pl.DataFrame,
    removed: pl.DataFrame,
    facts: Sequence[tuple[str, str]],
    front: dict[str, Any] | None = None,
) -> str:
    """The card as Markdown; what deliveries say is shown as plain words.

    Args:
        version: its name.
        summary: of the release.
        train: the release.
        removed: what left it.
        facts: of data, network, settings and code, as `diva show` prints them.
        front: what programs read of it, in YAML before the text.
    """
    flagged = int(train["flagged"].sum())
    counted = {"samples": len(train), "classes": train["label"].n_unique()}
    counted |= {name: summary[name] for name in ("core", "added", "removed", "relabelled") if name in summary}
    left_out = f", {summary['left_out']} of them because their label is called wrong" if summary.get("left_out") else ""
    weights = summary.get("weights", {})
    use = "kept" if weights.get("kept") else "not kept"
    head = yaml.safe_dump({"task_categories": ["image-classification"], **(front or {})}, sort_keys=False)
    lines = [
        f"---\n{head}---\n\n# {markdown(version)}\n",
        "A training set curated by the dataset derivative: labels that look wrong are called, samples of a pool were",
        "added by rounds, and each sample has a weight.\n",
        "## What it holds\n",
        *_table(("", "number"), [(name, str(number)) for name, number in counted.items()]),
        f"\nThe labels of {flagged} samples in it are called wrong. {len(removed)} samples left it{left_out}.",
        f"Weights are {use}: {markdown(str(weights.get('reason', '')))}.\n",
        "## Classes\n",
        *_table(("class", "samples"), _counts(train["label"].to_list())),
        *_licences(train),
        "\n## Where it comes from\n",
        *_table(("", ""), facts),
        "\n## Columns\n",
        "`label` is the label it trains under, `given_label` the one it came with, `suggested_label` the one that the",
        "model would give; `flagged`: called wrong; `weight`: how much the sample counts; `origin`: core or pool;",
        "`round`: in which it was added; `sample_id`: the hash of the image's bytes.",
    ]
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, str], rows: Sequence[tuple[str, str]]) -> list[str]:
    cells = [f"| {markdown(key)} | {markdown(value)} |" for key, value in rows]
    return [f"| {head[0]} | {head[1]} |", "| --- | --- |", *cells]


def _counts(values: Sequence[str | None]) -> list[tuple[str, str]]:
    counts = Counter("none given" if value is None else value for value in values)
    return [(name, str(number)) for name, number in sorted(counts.items())]


def _licences(train: pl.DataFrame) -> list[str]:
    """How many samples have each licence, where a delivery says so."""
    column = next((name for name in train.columns if name.lower() in LICENCES), None)
    if column is None:
        return ["\nNo column names a licence: ask who delivered the images."]
    return ["\n## Licences\n", *_table(("licence", "samples"), _counts(train[column].cast(pl.String).to_list()))]
