"""Every method and its peers on one pack: what finds wrong labels, what chooses good samples, at what price.

    python -m benchmarks.methods --features FILE.npz|digits [--noise 0.2] [--seeds 5] [--out FILE.json] [--quick]

FILE.npz holds x_train (n, p), y_train, x_test, y_test, and y_train_clean where its noise is real (then nothing is
planted). Columns: AUROC, average precision and precision at the number of errors of the suspicion; F1 of the method's
own flags (for soft, margin and derivative the rule `rate`), or else of its ε̂·n most suspicious samples, ε̂ as there;
test error of ridge regression (λ by leave-one-out on its own training set) without what is flagged and on the best 10,
20, 50 %, or on the set of a method that chooses one (`chosen` in FILE.json is its share); wall and CPU seconds and peak
memory beyond the data. Means over the seeds: of planted labels and of methods.

Each method runs in a process of its own, one after the other, on one thread unless --threads says otherwise. Peers run
in the environments that `make peers` builds, and are left out where these are absent.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and BLAS are loaded; --threads sets the rest

import argparse
import json
import multiprocessing
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from benchmarks import measured
from benchmarks.machine import description
from benchmarks.problems import Array, Problem, load, problem
from diva.curation.detect import error_rate, judge
from diva.curation.evaluation import train_by_leave_one_out
from diva.methods.inputs import labelled
from diva.methods.names import get
from diva.methods.registry import compute
from diva.methods.ridge_fit import fit
from diva.numerics.chunks import InMemory
from diva.numerics.grid import RIDGES
from diva.numerics.leave_one_out import choose_temperature
from diva.numerics.normalize import Prepared

FRACTIONS = (0.1, 0.2, 0.5)
ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".peers"


@dataclass(frozen=True)
class Entry:
    """One row of the table: a method of ours (``name``) or a peer (``environment``)."""

    label: str
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    environment: str | None = None


ENTRIES = (
    Entry("soft", "soft"),
    Entry("soft, ridge given", "soft", {"ridge": 1.0}),
    Entry("soft, second round", "soft", {"second_round": True}),
    Entry("margin", "margin"),
    Entry("derivative", "derivative"),
    Entry("cg_score", "cg_score"),
    Entry("knn_shapley", "knn_shapley"),
    Entry("learning_to_reweight", "learning_to_reweight"),
    Entry("active_bias", "active_bias"),
    Entry("smallest_margin", "smallest_margin"),
    Entry("k_center", "k_center", {"budget": 0.5}),
    Entry("host_cp", "host_cp"),
    Entry("uniform", "uniform"),
    Entry("balanced_uniform", "balanced_uniform"),
    Entry("cleanlab, logistic", "cleanlab_logistic", environment="cleanlab"),
    Entry("cleanlab, logistic C=3", "cleanlab_logistic_c3", environment="cleanlab"),
    Entry("cleanlab, logistic raw rows", "cleanlab_logistic_raw", environment="cleanlab"),
    Entry("cleanlab, Datalab", "cleanlab_datalab", environment="cleanlab"),
    Entry("pyDVL, KNN-Shapley", "pydvl_knn_shapley", environment="pydvl"),
    Entry("pyDVL, Data-OOB", "pydvl_data_oob", environment="pydvl"),
    Entry("pyDVL, Data-OOB, 800 trees", "pydvl_data_oob_800", environment="pydvl"),
    Entry("OpenDataVal, KNN-Shapley", "opendataval_knn_shapley", environment="opendataval"),
)
OURS = ("soft", "margin", "derivative")  # their own flags: the rule `rate`, within the mispredicted


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", required=True, help="FILE.npz, or digits")
    parser.add_argument("--noise", type=float, help="share of wrong labels planted (default .2; none where real)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="one seed, 500 rows")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=float, default=240, help="CPU seconds after which a run is given up")
    parser.add_argument("--only", nargs="*", help="labels of the table's rows to measure; the others stay in FILE.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    arrays = load(options.features)
    seeds, rows = (1, 500) if options.quick else (options.seeds, None)
    known = json.loads(options.out.read_text(encoding="utf-8")) if options.only and options.out.exists() else {}
    found: dict[str, list[dict[str, Any]]] = {}
    for shape in measure_all(arrays, options, seeds, rows, found):
        table = {**known.get("methods", {}), **{label: summary(some) for label, some in found.items()}}
        result = {**shape, "machine": {**description(), "threads": options.threads}, "methods": table}
        if options.out:  # after every run, so that what was measured is not lost
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(render(result))


def measure_all(
    arrays: dict[str, Array],
    options: argparse.Namespace,
    seeds: int,
    rows: int | None,
    found: dict[str, list[dict[str, Any]]],
) -> Iterator[dict[str, Any]]:
    """Adds to ``found``, run by run, and says what the data are."""
    entries = [entry for entry in ENTRIES if not options.only or entry.label in options.only]
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            task = problem(arrays, options.noise, seed, rows)
            judged = Reference(task)
            found.setdefault("everything", []).append(judged.everything())
            for entry in entries:
                if entry.environment and not _python(entry).exists():
                    continue
                row = run(entry, task, seed, Path(folder), options)
                found.setdefault(entry.label, []).append(judged.judge(row) if "error" not in row else row)
                print(f"seed {seed}: {entry.label}", file=sys.stderr, flush=True)
                yield {
                    "pack": Path(options.features).stem,
                    "noise": "real" if options.noise is None and "y_train_clean" in arrays else options.noise or 0.2,
                    "seeds": seed + 1,
                    "samples": len(task.y),
                    "features": task.x.shape[1],
                    "classes": task.classes,
                    "test": len(task.y_test),
                    "wrong": int(task.wrong.sum()),
                }


def run(entry: Entry, task: Problem, seed: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What one method said, with time and memory; or why it did not."""
    before, after = folder / "problem.npz", folder / "result.npz"
    after.unlink(missing_ok=True)
    task.save(before, seed)
    start = run_peer if entry.environment else run_ours
    why = start(entry, before, after, options)
    if why:
        return {"error": why}
    with np.load(after, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def run_ours(entry: Entry, before: Path, after: Path, options: argparse.Namespace) -> str:
    """In a process that forks from one with torch loaded, so that neither memory nor caches are shared."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "diva.methods.diva_scores"])
    process = context.Process(target=work_on, args=(entry, before, after, options))
    process.start()
    process.join()
    return "" if after.exists() else why_not(process.exitcode, options)


def run_peer(entry: Entry, before: Path, after: Path, options: argparse.Namespace) -> str:
    """In its own environment."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(options.threads))
    module = f"benchmarks.peers.{entry.name}"
    command = [str(_python(entry)), "-W", "ignore", "-m", module, str(before), str(after), str(options.limit)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **threads}, capture_output=True, check=False)
    return "" if after.exists() else why_not(done.returncode, options) + done.stderr.decode()[-200:]


def why_not(code: int | None, options: argparse.Namespace) -> str:
    """What the exit code says of a process that left no result; the system kills one that outran its time."""
    over = code is not None and -code in (signal.SIGXCPU, signal.SIGKILL)
    return f"more than {options.limit:.0f} CPU s" if over else f"ended with {code}"


def work_on(entry: Entry, before: Path, after: Path, options: argparse.Namespace) -> None:
    """One method of ours, measured."""
    torch.set_num_threads(options.threads)
    measured.allow(options.limit)
    method = get(entry.name)

    def value(x: Array, y: Array, seed: int) -> dict[str, Array]:
        settings = {k: round(v * len(y)) if k == "budget" else v for k, v in entry.options.items()}
        found = compute(entry.name, x, y, seed=seed, **settings)
        if found.kind == "set":
            return {"chosen": found.values.nonzero()[:, 0].numpy()}
        answer = {"best_first": found.best_first.numpy()}
        if method.suspects:
            answer["suspicion"] = (found.values if found.kind == "suspicion" else -found.values).numpy()
        if entry.name in OURS:
            answer["within_mispredicted"] = np.array(True)
        return answer

    measured.measure(value, before, after)


class Reference:
    """What the answers to one problem are held against."""

    def __init__(self, task: Problem) -> None:
        self.task = task
        self.test = Prepared(InMemory(task.x_test.astype(np.float32), task.y_test))
        fitted = fit(labelled(task.x, task.y, task.classes), ridge=None, normalize="unit")
        judgement = judge(fitted, choose_temperature(fitted))
        self.rate, self.mispredicted = error_rate(judgement), judgement.mispredicted.numpy()
        self.errors: dict[bytes, float] = {}

    def everything(self) -> dict[str, Any]:
        """Trained on all samples, and on those whose label is right."""
        every = np.arange(len(self.task.y))
        return {"error_all": self.error(every), "error_right": self.error(every[~self.task.wrong])}

    def judge(self, answer: dict[str, Any]) -> dict[str, Any]:
        """One row of the table."""
        row = {name: float(answer[name]) for name in ("seconds", "cpu_seconds", "peak_mib")}
        if "chosen" in answer:  # a set has a size of its own, and no order
            chosen = answer["chosen"]
            return row | {"chosen": len(chosen) / len(self.task.y), "error_chosen": self.error(chosen)}
        best = answer.get("best_first")
        if "suspicion" in answer:
            suspicion = answer["suspicion"]
            row |= self.detection(suspicion, self.flags(answer))
            best = np.argsort(suspicion, kind="stable") if best is None else best
        for fraction in FRACTIONS:
            row[f"error_best_{fraction:.0%}"] = self.error(best[: round(fraction * len(best))])
        return row

    def detection(self, suspicion: Array, flagged: Array) -> dict[str, float]:
        """How well wrong labels are found."""
        wrong = self.task.wrong
        most = np.argsort(-suspicion, kind="stable")[: wrong.sum()]
        return {
            "auroc": roc_auc_score(wrong, suspicion),
            "average_precision": average_precision_score(wrong, suspicion),
            "precision_at_errors": float(wrong[most].mean()),
            "f1": f1_score(wrong, flagged, zero_division=0),
            "flagged": float(flagged.mean()),
            "error_without_flagged": self.error(np.flatnonzero(~flagged)),
        }

    def flags(self, answer: dict[str, Any]) -> Array:
        """The method's own, or the ε̂·n most suspicious; for our scores those of them that are mispredicted."""
        if "flagged" in answer:
            return answer["flagged"].astype(bool)
        flagged = np.zeros(len(self.task.y), dtype=bool)
        flagged[np.argsort(-answer["suspicion"], kind="stable")[: round(self.rate * len(flagged))]] = True
        return flagged & self.mispredicted if "within_mispredicted" in answer else flagged

    def error(self, rows: Array) -> float:
        """Test error in percent of the head trained on these rows."""
        key = np.sort(rows).tobytes()
        if key not in self.errors:
            some = InMemory(self.task.x[rows].astype(np.float32), self.task.y[rows])
            head = train_by_leave_one_out(Prepared(some), self.task.classes, RIDGES)
            self.errors[key] = 100 * float((~head.correct(self.test)).double().mean())
        return self.errors[key]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread of every figure over the seeds, or why there is none."""
    failed = [row["error"] for row in rows if "error" in row]
    if failed:
        return {"error": failed[0]}
    keys = rows[0].keys()
    means = {key: round(statistics.mean(row[key] for row in rows), 5) for key in keys}
    spreads = {key: round(statistics.stdev(row[key] for row in rows), 5) for key in keys} if len(rows) > 1 else {}
    return {"mean": means, "spread": spreads}


COLUMNS = {
    "auroc": ("AUROC", ".4f"),
    "average_precision": ("AP", ".4f"),
    "precision_at_errors": ("P@errors", ".3f"),
    "f1": ("F1", ".3f"),
    "error_without_flagged": ("cleaned", ".2f"),
    "error_best_10%": ("best 10%", ".2f"),
    "error_best_20%": ("20%", ".2f"),
    "error_best_50%": ("50%", ".2f"),
    "error_chosen": ("set", ".2f"),
    "seconds": ("s", ".2f"),
    "cpu_seconds": ("CPU s", ".2f"),
    "peak_mib": ("MiB", ".0f"),
}


def render(result: dict[str, Any]) -> str:
    """The table, as Markdown."""
    lines = [
        f"{result['pack']}: {result['samples']} samples, {result['wrong']} wrong ({result['noise']}), "
        f"{result['classes']} classes, {result['features']} features, {result['seeds']} seeds; errors in percent, "
        f"everything {result['methods']['everything']['mean']['error_all']:.2f}, "
        f"only right labels {result['methods']['everything']['mean']['error_right']:.2f}",
        "",
        "| method | " + " | ".join(title for title, _ in COLUMNS.values()) + " |",
        "| --- |" + " ---: |" * len(COLUMNS),
    ]
    for label, row in result["methods"].items():
        if "error" in row:
            lines.append(f"| {label} | {row['error']} |" + " |" * (len(COLUMNS) - 1))
        elif label != "everything":
            cells = [format(row["mean"][k], f) if k in row["mean"] else "" for k, (_, f) in COLUMNS.items()]
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _python(entry: Entry) -> Path:
    return PEERS / str(entry.environment) / "bin" / "python"


if __name__ == "__main__":
    main()
