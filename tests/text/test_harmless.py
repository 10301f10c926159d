"""Text from outside stays text."""

import html
import io
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from diva.commands import cli
from diva.text.harmless import Lines, markdown, plain, spare_encodings

HOSTILE = "\x1b]0;title\x07\x9b2J\udcff"


@given(st.text(max_size=30) | st.text("*_#![]()<>`~|\\&;:/-+.1 a", max_size=30))
def test_markdown_shows_the_words_and_nothing_else(text: str) -> None:
    page = MarkdownIt("commonmark").render(f"- {markdown(text)}")
    inside = page.removeprefix("<ul>\n<li>").removesuffix("</li>\n</ul>\n")
    assert html.unescape(inside).split() == plain(text).split()
    assert "<" not in inside


def test_no_text_steers_a_terminal() -> None:
    told = plain(f"a\tb\n{HOSTILE}")
    assert told.startswith("a\tb\n")
    assert not set("\x1b\x07\x9b") & set(told)
    assert told.encode().endswith(rb"\udcff")
    record = logging.makeLogRecord({"msg": "%s read", "args": (HOSTILE,)})
    assert not set("\x1b\x07\x9b") & set(Lines("%(message)s").format(record))


def test_a_mistake_of_the_command_is_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise ValueError(HOSTILE)

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit):
        cli.main()
    assert not set("\x1b\x07\x9b") & set(capsys.readouterr().err)


def test_a_letter_that_an_encoding_lacks_costs_that_letter_alone(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252", errors="strict"))
    monkeypatch.setattr(sys, "stderr", None)
    spare_encodings()
    sys.stdout.write("añadido ▸ 3 → 4\n")
    sys.stdout.flush()
    assert written.getvalue().decode("cp1252") == "añadido ? 3 ? 4\n"
