"""What the last run did, as facts and tables of text: the one place that words them; terminal and report only draw.

Everything is read from what the stages wrote: ``data/metrics``, ``data/release/summary.json`` and the attributes of the
core's features. Errors are fractions on disk and percent here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from diva.report import claims, reviewed, slice_tables, test_set
from diva.report.run_metrics import RunMetrics
from diva.store import evaluation, paths
from diva.text.targets import described
from diva.text.words import NOTHING, Column, Row, Table, amount, count, number, percent, with_interval

MOST_NAMES = 12  # groups
INTERIM = (
    "The ridge head alone judged these training sets, because another round followed in the same night; the version "
    "that the night ended with has the errors of every learner."
)
MEANINGS = {  # words of the table of training sets
    "members": "core and what was added",
    "flagged out": "without labels called wrong",
    "everything": "core and whole pool",
    "uniform": "the core and as many of the pool, drawn at random",
    "less core's": "minus the core's error",
}
BAD = {"slices": slice_tables.worst, "pairs": slice_tables.pairs, "deliveries": slice_tables.deliveries}


class Summary(NamedTuple):
    """All there is to show: named facts, tables, and caveats that must not be missed."""

    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    caveats: tuple[str, ...]


def summarise(run: RunMetrics) -> Summary:
    """Facts, tables and caveats of a run."""
    shown = (
        called_wrong(run),
        *(draw(run.tables[name]) for name, draw in BAD.items() if name in run.tables),
        *((test_set.audited(run.tables["audit"]),) if "audit" in run.tables else ()),
        annotators(run),
        reviewed.agreement(run.history),
        rounds(run),
        sets(run),
        panel(run),
    )
    return Summary(facts(run), tuple(table for table in shown if table.rows), caveats(run))


def annotators(run: RunMetrics) -> Table:
    """How often each annotator of the core is right; no rows where one label a sample was given."""
    columns = (Column("annotator", number=False), Column("votes"), Column("right, % [95 %]"))
    rows = tuple(
        Row((each["annotator"], count(each["votes"]), with_interval({**each, "error": each["quality"]})))
        for each in run.fit.get("annotators", [])
    )
    changed = count(run.fit.get("changed_by_model", 0))
    title = f"Annotators of the core; the model decides otherwise than most in {changed}"
    return Table(title, columns, rows, (f"Worth another vote first: {paths.VOTES.as_posix()}",))


def facts(run: RunMetrics) -> tuple[tuple[str, str], ...]:
    """What the run started from, what it made, and where that lies."""
    release, weights = run.release, run.release["weights"]
    size = release.get("samples", release["members"])
    what = described(run.fit.get("task", "classification"), run.fit["classes"])
    made = f"{amount(size, 'sample')}: core {count(release['core'])}, added {count(release['added'])}"
    gone = {"removed": release["removed"], "relabelled": release["relabelled"]}
    left_out = {"removed": release["removed"], "called wrong and left out": release.get("left_out", 0)}
    return (
        ("verdict", verdict(run)),
        ("error", claims.gain(run)),
        ("core", f"{amount(run.fit['samples'], 'sample')} of {what}"),
        ("called wrong", f"{count(release['flagged'])} of {count(release['members'])}, flagged" + _listed(gone)),
        ("release", made + _listed(left_out)),
        *((("set", f"{release['set']['name']}: {release['set']['reason']}"),) if "set" in release else ()),
        ("weights", f"{'kept' if weights['kept'] else 'not kept'}: {weights['reason']}"),
        *((("test labels", doubts),) if (doubts := test_set.doubts(run.evaluate)) else ()),
        ("backbone", backbone(run.network)),
        ("lies in", f"{paths.TRAIN.parent.as_posix()}/"),
        ("report", paths.REPORT.as_posix()),
    )


def verdict(run: RunMetrics) -> str:
    """What became of the pool and of all that was set aside, and what to do next."""
    return f"{_outcome(run)}; next: {_next(run)}"


def sentences(run: RunMetrics) -> tuple[str, ...]:
    """What was found, what the release is worth, what to do next: the same figures as those of the facts."""
    called = f"{count(run.release['flagged'])} of {count(run.release['members'])} labels are called wrong"
    return tuple(map(_sentence, (f"{called}; {_outcome(run)}", claims.gain(run), f"next: {_next(run)}")))


def _outcome(run: RunMetrics) -> str:
    """What became of the pool and of all that was set aside."""
    pool = run.release["added"] + sum(run.remaining.values())
    words = {
        evaluation.HOPELESS: "of the pool probably wrong", evaluation.HARMFUL: "that would not help",
        evaluation.WAITING: "waiting",
        evaluation.WANTED: "wanted by people", evaluation.REJECTED: "rejected by people",
        evaluation.UNTOUCHED: "not looked at by a round", evaluation.UNLABELLED: "waiting for a label",
    }  # fmt: skip
    parts = [f"{count(run.release['added'])} of {count(pool)} added"] if pool else ["no pool"]
    parts += [f"{count(amount)} {words.get(why, why)}" for why, amount in sorted(run.remaining.items())]
    if amount := sum(run.aside.values()):
        most = max(run.aside, key=lambda kind: run.aside[kind])
        parts.append(f"{count(amount)} set aside (most: {most})")
    if foreign := run.evaluate["test"].get("unknown_class", 0):
        parts.append(f"{count(foreign)} test samples of classes the core lacks, which count nowhere")
    return ", ".join(parts)


def _next(run: RunMetrics) -> str:
    """The step that brings most now."""
    stops = [metrics.get("stop", "none") for metrics in run.rounds.values()]
    waiting = run.remaining.get(evaluation.WAITING, 0) + run.remaining.get(evaluation.UNTOUCHED, 0)
    if waiting and stops[-1:] == ["the budget is spent"]:
        return "raise extend.budget"
    if run.remaining.get(evaluation.WANTED) or (waiting and (run.behind or stops[-1:] in ([], ["none"]))):
        return "git add -A && git commit, then diva night: rounds until no candidate is left"
    if run.aside and run.rounds and not run.release["added"] and not run.remaining:
        return f"see why nothing of the pool is used: {paths.quarantine('pool', '…').parent.as_posix()}"
    if run.remaining.get(evaluation.HOPELESS, 0) + run.release["flagged"]:
        return "diva review --serve, to look at what is called wrong"
    if run.remaining.get(evaluation.UNLABELLED):
        return "have labelled what waits for a label: suggest.of: [pool] in params.yaml, then diva label FILE"
    return f"train on {paths.TRAIN.as_posix()}"


def backbone(network: Mapping[str, Any]) -> str:
    """The network that made the features, in words."""
    if not network:
        return f"unknown: {paths.features('core').as_posix()} is not here"
    if network["backbone"] == "ready":
        return "none: the features were delivered ready"
    if network["weights"] == "none":
        return f"{network['backbone']}, untrained: random weights from seed {network['seed']}"
    return f"{network['backbone']} with weights {network['weights']}"


def caveats(run: RunMetrics) -> tuple[str, ...]:
    """What a reader must know before believing the figures."""
    untrained = "" if run.trained else "The backbone is untrained: a trained one gives better features."
    nothing = "" if run.rounds else "No rounds: nothing was added to the core."
    caveat, warning = run.evaluate["test"].get("caveat", ""), run.evaluate.get("warning", "")
    relatives = run.fit.get("relatives", {}).get("message", "")
    undecided = [_sentence(scored.get("message", "")) for scored in run.scores]
    texts = (
        warning,
        *(slice_tables.alerts(run.tables["deliveries"]) if "deliveries" in run.tables else ()),
        shared_groups(run),
        *claims.fragile(run),
        *claims.coarse(run),
        relabelled(run),
        _sentence(relatives),
        _sentence(run.fit.get("caveat", "")),
        *undecided,
        caveat,
        INTERIM if run.evaluate.get("interim") else "",
        untrained,
        nothing,
        plain_logistic(run),
    )
    return tuple(dict.fromkeys(filter(None, texts)))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}." if text else ""


def shared_groups(run: RunMetrics) -> str:
    """Which groups lie on both sides of the test set's border; nothing where none does."""
    if not run.straddling:
        return ""
    names = list(run.straddling)
    more = f" and {count(len(names) - MOST_NAMES)} more" if len(names) > MOST_NAMES else ""
    return (
        f"{amount(len(names), 'group')} of the test set also came with core or pool: {', '.join(names[:MOST_NAMES])}"
        f"{more}. Their {amount(sum(run.straddling.values()), 'sample')} were set aside and train nothing."
    )


def relabelled(run: RunMetrics) -> str:
    """What suggestions in place of given labels cost, where rounds put some there; else nothing."""
    changed = sum(metrics.get("relabelled", 0) for metrics in run.rounds.values())
    if not changed:
        return ""
    return (
        f"{count(changed)} given labels were replaced by suggestions (curate.action: relabel). Measured, that raised "
        "the error by 1 to 5 points on three of five sets, because a wrong suggestion is a new wrong label: look at "
        "them, or use weigh."
    )


def plain_logistic(run: RunMetrics) -> str:
    """That plain logistic regression on everything beats the ridge head on the release, where it does; else nothing."""
    errors = run.evaluate["sets"].get("everything", {}).get("panel", {}).get("learners", {})
    plain, head = errors.get("logistic", {}).get("error"), run.evaluate["sets"].get(run.used, {}).get("error")
    if plain is None or head is None or plain >= head:
        return ""
    return (
        f"Plain logistic regression on everything errs on {percent(plain)} %, the ridge head on the release on "
        f"{percent(head)} %: with these features another learner than the head is worth more than curation."
    )


def called_wrong(run: RunMetrics) -> Table:
    """Labels called wrong against those planted wrong; no rows where no truth is known."""
    planted = run.evaluate["planted"]
    titles = ("called wrong", "planted wrong", "both", "precision", "recall")
    columns = (Column("in", number=False), *map(Column, titles))
    if not planted.get("known"):
        return Table("Labels called wrong", columns, ())
    places = [("core", planted["core"])] + [("core and additions", planted)] * bool(run.rounds)
    rows = tuple(Row((name, *_agreement(figures))) for name, figures in places)
    return Table("Labels called wrong (flagged, removed or relabelled); precision and recall in %", columns, rows)


def _agreement(figures: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (count(figures[name]) for name in ("flagged", "wrong", "hit"))
    return *counts, percent(figures["precision"], 1), percent(figures["recall"], 1)


def rounds(run: RunMetrics) -> Table:
    """Round by round: what was added, how many of these were planted wrong, size and test error."""
    planted = run.evaluate["planted"]
    wrong = {entry["round"]: entry["wrong"] for entry in planted.get("rounds", [])}
    if planted.get("known"):
        wrong["r000"] = planted["core"]["wrong"]
    titles = ("added", *(["planted wrong"] if planted.get("known") else []), "removed")
    sizes = (Column("samples", sized=True), Column("error, %"))
    columns = (Column("round", number=False), *map(Column, titles), *sizes)
    rows = []
    for entry in run.evaluate["rounds"]:
        added = NOTHING if entry["round"] == "r000" else count(entry["added"])
        planted_wrong = (count(wrong.get(entry["round"], 0)),) if planted.get("known") else ()
        figures = (count(entry["removed"]), count(entry["size"]), with_interval(entry))
        rows.append(Row((entry["round"], added, *planted_wrong, *figures)))
    return Table("Rounds (r000 is the core; errors without weights)", columns, tuple(rows), _stops(run))


def _stops(run: RunMetrics) -> tuple[str, ...]:
    return tuple(
        f"{name}: {metrics['stop']}." for name, metrics in run.rounds.items() if metrics.get("stop", "none") != "none"
    )


def sets(run: RunMetrics) -> Table:
    """The training sets side by side, in the order of ``SETS``."""
    results = run.evaluate["sets"]
    columns = (
        Column("trained on", number=False),
        Column("samples", sized=True),
        Column("error"),
        Column("less core's", judged=True),
        Column("ridge", wide=True),
        Column("leave-one-out", wide=True),
    )
    test = run.evaluate["test"]
    where = "test samples" if test["kind"] == "test" else "held-out samples of the core"
    title = f"Error of the ridge head on {count(test['samples'])} {where}, in %, with intervals of 95 %"
    notes: tuple[str, ...] = (f"▸ the release is this: {paths.TRAIN.as_posix()}   ★ lowest error",)
    notes += (f"The error is the {test.get('measure')}.",) * ("measure" in test)
    rows = tuple(_set(run, name, results[name]) for name in claims.order(run))
    return Table(title, columns, rows, (*notes, _meanings(rows, columns)))


def _meanings(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """What the names of training sets mean, of those that the table shows."""
    names = " ".join([*(str(row.cells[0]) for row in rows), *(column.title for column in columns)])
    return "; ".join(f"{word}: {meaning}" for word, meaning in MEANINGS.items() if word in names)


def panel(run: RunMetrics) -> Table:
    """The same training sets, judged by several learners: the mean over them, and each."""
    results = claims.panels(run)
    learners = list(results["core"]["learners"]) if results else []
    tuned = {name: entry["finetuned"] for name, entry in run.evaluate["sets"].items() if "finetuned" in entry}
    columns = (
        Column("trained on", number=False),
        Column("mean"),
        Column("less core's", judged=True),
        *(Column(learner, wide=True) for learner in learners),
        *([Column("fine-tuned")] * bool(tuned)),
    )
    title, about = "Error by learner, in %: the mean over them, and each", run.evaluate.get("learners", {})
    if not results:
        return Table(title, columns, ())
    best = claims.best(run)
    rows = []
    for name, figures in results.items():
        mean = figures["mean"]
        difference = with_interval(mean, "difference") if name != "core" else NOTHING
        each = (percent(figures["learners"][learner]["error"]) for learner in learners)
        verdict = "" if name == "core" else claims.judged(mean)
        network = (percent(tuned[name]["error"]) if name in tuned else NOTHING,) * bool(tuned)
        cells = (claims.shown(name), with_interval(mean), difference, *each, *network)
        rows.append(Row(cells, used=name == run.used, best=name == best, verdict=verdict))
    sampled = (f"Of larger sets {count(about['rows'])} rows, drawn at random, train all but the ridge head.",)
    notes = (*claims.gains(results[run.used]), claims.recipe(run), *sampled * bool(about.get("sampled")))
    return Table(title, columns, tuple(rows), notes)


def _set(run: RunMetrics, name: str, figures: Mapping[str, Any]) -> Row:
    compared = name != "core" and figures.get("difference") is not None
    verdict = claims.judged(figures) if compared else ""
    cells = (
        claims.shown(name),
        count(figures["size"]),
        with_interval(figures),
        with_interval(figures, "difference") if compared else NOTHING,
        number(figures.get("ridge")),
        percent(figures.get("loo_error")),
    )
    return Row(cells, used=name == run.used, best=name == run.best, verdict=verdict)


def _listed(counts: Mapping[str, int]) -> str:
    return "".join(f", {name} {count(value)}" for name, value in counts.items() if value)
