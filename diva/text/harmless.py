"""Text from outside, before a terminal or a page shows it: names, labels and messages stay words and steer nothing."""

import logging
import re
import sys
from contextlib import suppress

# all control characters but tab and line break
CONTROL = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)], "\N{REPLACEMENT CHARACTER}")
# All that Markdown could read as more than itself; what stands between letters or digits, or ends a word, is itself.
ITSELF = r"(?<=\d)\.(?=\d)|(?<=\w)[-/](?=\w)|(?<=[^\W\d])[.:](?= |$)"
MARKS = re.compile(ITSELF + r"|([!#$&*+:<>@\[\]\\_`{|}~./-]|(?<=\d)\)|(?<=\])\()")


def spare_encodings() -> None:
    """Let both streams show ``?`` for a letter that their encoding lacks, as of a file on Windows, and lose no more."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a stream that somebody put there
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]


def plain(text: str) -> str:
    """``text`` as it is, but what would steer a terminal is shown instead of obeyed, and bytes of no text are spelt."""
    return text.encode("utf-8", "backslashreplace").decode().translate(CONTROL)


def markdown(text: str) -> str:
    """Markdown that shows one line of ``text``: no image is fetched, nothing is linked or marked up."""
    return MARKS.sub(lambda mark: f"\\{mark[1]}" if mark[1] else mark[0], " ".join(plain(text).split()))


class Lines(logging.Formatter):
    """Writes a log for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's lines, ``plain``."""
        return plain(super().format(record))
