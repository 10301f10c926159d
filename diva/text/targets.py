"""What labels say, as text that tables hold, in one spelling: a class; several labels of a sample; or a number.

    classification  cat
    multilabel      cat|dog   each label once, in alphabetical order; a bar alone says that a sample has none of them
    regression      3.5

One class, label and number has one spelling, so that texts are equal where labels are. Free of torch.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from diva.text.choices import Task
from diva.text.labels import Spelling, normalized
from diva.text.words import amount

BAR = "|"
COMMA = re.compile(r"(?![+-]?[1-9]\d{0,2},\d{3}$)[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)  # 1,234: thousands?
DECIMALS = " (write decimals with a point; 1,234 may be two numbers)"
FEW = 20  # different numbers up to which they may well be names of classes


def label_names(text: str) -> list[str]:
    """The labels of a sample."""
    return [name for name in text.split(BAR) if name]


def label_set(names: Iterable[str]) -> str:
    """Several labels as the text of a sample."""
    return BAR.join(sorted(set(names))) or BAR


def number_text(value: float) -> str:
    """A number as tables hold it."""
    return re.sub(r"e([+-])0+", r"e\1", repr(float(value)))


def spelled(text: str, task: Task, separator: str = BAR) -> str:
    """A label in its one spelling.

    Args:
        text: as delivered.
        task: what it is a label of.
        separator: of several labels; bars separate them, too.

    Raises:
        ValueError: it is no number where it must be one.
    """
    if task == "multilabel":
        return label_set(filter(None, map(normalized, text.replace(separator, BAR).split(BAR))))
    if task == "regression":
        value = _number(text)
        if value is None:
            raise ValueError(f"label must be a finite number{DECIMALS * (',' in text)}, got {text!r}.")
        return number_text(value)
    return text


def classes_of(task: Task, labels: Iterable[str]) -> set[str]:
    """What labels may be of: classes, or names of which a sample has several; of numbers nothing."""
    if task == "multilabel":
        return {name for text in set(labels) for name in label_names(text)}
    return set() if task == "regression" else set(labels)


class Vocabulary:
    """The labels of a project, and how it spells them.

    Args:
        task: what they are labels of.
        labels: as tables hold them.
        separator: of several labels that people write.
    """

    def __init__(self, task: Task, labels: Iterable[str], separator: str = BAR) -> None:
        self.task, self.separator, self.classes = task, separator, classes_of(task, labels)
        self.spelling = Spelling(self.classes)

    def spell(self, text: str) -> str:
        """A label in the project's spelling; as it is where it can be none."""
        if self.task == "multilabel":
            return label_set(map(self.spelling, label_names(spelled(text, self.task, self.separator))))
        try:
            return spelled(text, self.task) if self.task == "regression" else self.spelling(text)
        except ValueError:
            return text

    def knows(self, text: str) -> bool:
        """Whether it is a label of the project: one that a sample has, several such, or a number."""
        if self.task == "regression":
            return is_number(text)
        return classes_of(self.task, [text]) <= self.classes


def familiar(task: Task, labels: Iterable[str], classes: Iterable[str]) -> set[str]:
    """Labels of which nothing lies beyond the classes."""
    there = set(classes)
    return {text for text in set(labels) if classes_of(task, [text]) <= there}


def described(task: Task, classes: int) -> str:
    """``10 classes``, ``6 labels, several each``, or ``one number each``."""
    if task == "regression":
        return "one number each"
    return amount(classes, "class") if task == "classification" else f"{amount(classes, 'label')}, several each"


def class_counts(labels: Mapping[str, int], task: Task, separator: str = BAR) -> Counter[str]:
    """How many samples have each class, or each of several labels; nothing of numbers."""
    counts: Counter[str] = Counter()
    for text, count in labels.items():
        several = spelled(text, task, separator) if task == "multilabel" else text
        counts.update(dict.fromkeys(classes_of(task, [several]), count))
    return counts


def entry_faults(given: str, suggested: str) -> str:
    """``dog is missing, cat is wrong``: what of several labels is another in the suggestion."""
    had, has = set(label_names(given)), set(label_names(suggested))
    faults = [f"{name} is missing" for name in sorted(has - had)] + [f"{name} is wrong" for name in sorted(had - has)]
    return ", ".join(faults)


def recognised(labels: Mapping[str, int], separator: str | None = None) -> Task:
    """What the labels of a core are, by how they look.

    Args:
        labels: how many samples have each.
        separator: of several labels, where somebody said so.

    Raises:
        ValueError: numbers that may be classes or targets.
    """
    if separator is not None:
        return "multilabel"
    numbers = [_number(text) for text in labels]
    if numbers and None not in numbers:
        broken, single = any(not str(value).endswith(".0") for value in numbers), 2 * len(labels) > sum(labels.values())
        if single or (broken and len(labels) > FEW):
            raise ValueError(
                f"labels are {len(labels)} different numbers in {sum(labels.values())} samples, such as "
                f"{next(iter(labels))}: say --task regression, or --task classification."
            )
    several = [text for text in labels if BAR in text]
    parts = Counter(name for text in several for name in label_names(text))
    return (
        "multilabel" if several and len(classes_of("multilabel", labels)) < len(labels) and parts else "classification"
    )


def _number(text: str) -> float | None:
    """A number, also with the decimal comma of many countries; None where it is none, or 1,234, which may be two."""
    plain = text.strip()
    try:
        value = float(plain.replace(",", ".") if COMMA.fullmatch(plain) else plain)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def joined_labels(classes: Iterable[str]) -> list[str]:
    """Classes that join names of others, as ``cat;dog`` does beside cat and dog, or are a list as text."""
    names = set(classes)
    lists = [name for name in sorted(names) if name.startswith("[") and name.endswith("]")]
    parts = {name: [part.strip() for part in re.split(r"[;,/&+]|\s", name) if part.strip()] for name in sorted(names)}
    return lists + [name for name, several in parts.items() if len(several) > 1 and names.issuperset(several)]


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    return _number(text) is not None


def multi_hot(rows: Sequence[Sequence[Any]], names: Sequence[str] | None = None) -> list[str]:
    """Rows of 0 and 1 as texts; labels are called by their column where nobody named them."""
    called = [str(column) for column in range(len(rows[0]) if len(rows) else 0)] if names is None else names
    return [label_set(name for name, entry in zip(called, row, strict=True) if entry) for row in rows]


def delivered(value: Any) -> str | None:
    """A label as a delivery gives it, a list of several too; None where there is none."""
    if isinstance(value, list | tuple | set | frozenset):
        return label_set(filter(None, map(normalized, value)))
    return normalized(value)
