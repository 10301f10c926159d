from dataclasses import replace

import polars as pl

from diva.report import aside, test_set
from diva.report.run_metrics import RunMetrics
from diva.store import manifest
from stages import report
from tests.projects.finished_run import finish


def test_what_was_set_aside_is_counted_with_reason_and_remedy(place) -> None:
    finish()
    found = aside.kinds(report.read().quarantine)
    assert [(one.batch, one.stage, one.kind, one.samples) for one in found] == [
        ("core", "download", "zero bytes", 1),
        ("test", "download", "zero bytes", 1),
        ("b001", "download", "zero bytes", 1),
    ]
    assert found[0].remedy == "Copy the file again."
    assert aside.counts(found) == {"zero bytes": {"core": 1, "test": 1, "b001": 1}}


def test_copies_are_shown_beside_what_stays_and_those_that_disagree_come_first() -> None:
    rows = [
        manifest.Refused("a", "x/a.png", "cat", "same content: as y/a.png", ""),
        manifest.Refused(
            "b", "x/b.png", "dog", "same content under another label: as y/b.png, which is labelled 'cat'", ""
        ),
        manifest.Refused("n", "x/n.png", "cat", "near duplicate: of a in core, cosine 0.997", ""),
        manifest.Refused("t", "x/t.png", "owl", "already delivered: in test", ""),
        manifest.Refused(None, "x/broken.png", None, "zero bytes", ""),
    ]
    samples = pl.DataFrame({"sample_id": ["a", "b"], "given_label": ["cat", "cat"], "path": ["y/a.png", "y/b.png"]})
    found = aside.copies({("download", "core"): manifest.refusals(rows)}, samples)
    assert [(one.label, one.of_label, one.of_path, one.row, one.conflict) for one in found] == [
        ("dog", "cat", "y/b.png", 1, True),
        ("cat", "cat", "y/a.png", 0, False),
        ("cat", "cat", "y/a.png", 0, False),
        ("owl", "", "in test", -1, False),
    ]


def test_faults_of_the_test_set_are_counted_apart_from_all_others() -> None:
    rows = [
        manifest.Refused("a", "x/a.png", "cat", "same content: as y/a.png", ""),
        manifest.Refused("b", "x/b.png", "dog", "same content under another label: as y/b.png", ""),
        manifest.Refused(None, "x/broken.png", None, "zero bytes", ""),
    ]
    quarantine = {(stage, batch): manifest.refusals(rows) for stage, batch in (("download", "test"), ("fit", "core"))}
    evaluate = {"test": {"kind": "test", "unknown_class": 4}, "audit": {"suspicious": 6}}
    run = RunMetrics(evaluate, {}, {}, {}, {}, (), straddling={"patient 1": 2, "patient 2": 3})
    assert [figure for _, figure in test_set.faults(run, quarantine)] == ["6", "2", "1", "4", "2"]
    assert test_set.faults(replace(run, evaluate={"test": {"kind": "held_out"}}), quarantine) == ()
