"""Labels as text: what people, file systems and spreadsheets spell in several ways is one class.

    composed or decomposed accents (NFC), no-break for plain spaces, invisible marks, 3.0 for 3, blanks and joiners at
    the edges

``001`` and ``1`` stay apart, and so do upper and lower case.
"""

import functools
import re
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

BLANKS = dict.fromkeys(map(ord, "\N{NO-BREAK SPACE}\N{FIGURE SPACE}\N{NARROW NO-BREAK SPACE}"), " ")
INVISIBLE = dict.fromkeys(
    map(
        ord,
        "\N{ZERO WIDTH SPACE}\N{WORD JOINER}\N{ZERO WIDTH NO-BREAK SPACE}\N{SOFT HYPHEN}"
        "\N{LEFT-TO-RIGHT MARK}\N{RIGHT-TO-LEFT MARK}\N{ARABIC LETTER MARK}\u202a\u202b\u202c\u202d\u202e"  # direction
        "\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069",
    )
)
# Joiners are part of words of some scripts, and of none at their edges.
EDGES = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}" + "".join(filter(str.isspace, map(chr, range(0x3001))))
NONE = {
    "nan", "n/a", "na", "none", "null", "nil", "nat", "undefined", "unlabeled", "unlabelled", "no label", "not labeled",
    "not labelled", "unknown", "unclassified", "missing", "empty", "todo", "tbd", "?", "??", "-", "--", "–", "-1",
    "-999", "-9999",
}  # fmt: skip
WHOLE = re.compile(r"([+-]?\d+)\.0+")


def plain_text(value: Any) -> str | None:
    """A label or an id as text without blanks around, 3.0 as 3; None where there is none (null, NaN, blank)."""
    if value is None or value != value:  # NaN is not itself
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, Real) and not isinstance(value, Integral) and float(value).is_integer():
        value = int(float(value))
    return str(value).strip() or None


def normalized(value: Any) -> str | None:
    """A label in the one spelling that all its spellings share; None where there is none."""
    return _normalized(plain_text(value) or "") or None


@functools.lru_cache(1 << 14)
def _normalized(text: str) -> str:
    plain = unicodedata.normalize("NFC", text).translate(BLANKS | INVISIBLE).strip(EDGES)
    whole = WHOLE.fullmatch(plain)
    return whole[1] if whole else plain


def absent_by_name(names: Iterable[Any]) -> list[str]:
    """Labels that probably say that there is none: what programs write there, and people."""
    return [name for name in map(str, names) if name.strip().strip("#<>()").casefold() in NONE]


def in_two_spellings(names: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Pairs of labels that differ in spelling, in case, or in what joins their words alone."""
    first: dict[str, Any] = {}
    alike = {name: re.sub(r"[\s_-]+", " ", (normalized(name) or "").casefold()) for name in names}
    pairs = [(first.setdefault(plain, name), name) for name, plain in alike.items()]
    return [pair for pair in pairs if pair[0] != pair[1]]


def check_names(labels: Sequence[Any], name: str) -> None:
    """Warn of labels that are probably none, or one in two spellings; ValueError where one is empty."""
    names = sorted(set(labels))
    if "" in names:
        raise ValueError(f"{name} must hold a label for every row, got none in row {labels.index('')}.")
    absent = absent_by_name(names)
    if absent and len(names) - len(absent) > 1:
        way = "leave out rows of which nobody knows, or give them to suggest as X_pool"
        warnings.warn(f"{name} holds {absent[0]!r}, which counts as a class; {way}.", stacklevel=5)
    warn_of_spellings(names, name, 6)


def warn_of_spellings(names: Iterable[Any], name: str, stacklevel: int = 4) -> None:
    """Warn where labels differ in blanks, in case or in the way characters are composed alone: they are two here."""
    for first, second in in_two_spellings(names):
        warnings.warn(f"{name} holds {first!r} and {second!r}, which count as two classes.", stacklevel=stacklevel)


def case_notes(name: str, labels: Iterable[str]) -> tuple[str, ...]:
    """A note on every two classes of a source that differ in spelling or case alone."""
    pairs = in_two_spellings(sorted(labels))
    return tuple(f"{name}: the classes {first!r} and {other!r} count as two." for first, other in pairs)


class Spelling:
    """The labels of a project as it spells them, which may be older than the rules above.

    Args:
        classes: the labels there are.
    """

    def __init__(self, classes: Iterable[str]) -> None:
        self.classes = {name: name for name in classes}
        self.alike = {normalized(name): name for name in sorted(self.classes, reverse=True)}

    def __call__(self, label: str) -> str:
        """The class that a label means; the label itself, normalised, where there is none."""
        plain = normalized(label) or label
        return self.classes.get(label) or self.alike.get(plain) or plain
