import html

import polars as pl
from markdown_it import MarkdownIt

from flows import artifacts


def test_a_label_is_text_in_the_table_whose_cells_prefect_reads_as_markdown():
    label = "![](https://host.example/x.png) <b>a_b_</b> [c](d)"
    state = pl.DataFrame(
        {
            "given_label": [label, "1."],
            "label": [label, "1."],
            "origin": ["pool", "core"],
            "round": ["r001", "r000"],
            "status": ["member", "member"],
            "changed_in": ["r001", "r000"],
        }
    )
    first, second = sorted(artifacts.classes(state, "r001"), key=lambda row: row["added"])
    assert [MarkdownIt("commonmark").render(row["class"]) for row in (first, second)] == [
        "<p>1.</p>\n",
        f"<p>{html.escape(label, quote=False)}</p>\n",
    ]
    assert (second["added"], second["members"], first["added"]) == (1, 1, 0)
