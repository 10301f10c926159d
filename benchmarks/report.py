"""How large and how fast is the report page with 50,000 samples?

    python -m benchmarks.report [--rows 50000] [--photos 4000] [--repeats 5] [--out FILE.json]

A made-up run of that many samples (core and pool, 100 classes, 512 features) with some thousand photographs of smooth
noise, as hard to compress as real ones; the page is rendered once and opened in Chromium. Measured in the browser: from
the start of the navigation to the first view (the gallery stands and can be used), and from a filter's change to the
second frame after it, so that sorting, drawing and painting count; from the end of a lasso on the map likewise.
"""

import argparse
import dataclasses
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
from PIL import Image

from benchmarks import machine
from diva.ingest.images import digest
from diva.report import page
from diva.report.data import ReportData
from diva.store import curated, evaluation, paths, release
from diva.store.manifest import ID_LENGTH
from stages import report
from tests.projects import stage_inputs
from tests.projects.finished_run import finish

CLASSES, FEATURES, CORE, LEFT = 100, 512, 0.6, 0.2  # of the rows: in the core, left in the pool
LIMITS = page.PageLimits(calls=1000, thumbnail=128, rows=50_000, megabytes=14)
FRAMES = """([selector, value]) => new Promise((done) => {
  const place = document.querySelector(selector);
  const start = performance.now();
  if (value === null) place.click();
  else {
    place.value = value;
    place.dispatchEvent(new Event("input", { bubbles: true }));
  }
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
})"""
LASSO = """() => new Promise((done) => {
  const place = document.querySelector("#map-canvas");
  const { left, top, width, height } = place.getBoundingClientRect();
  place.setPointerCapture = () => {}; // no real pointer is down
  const fire = (type, turn) => {
    const [right, down] = [0.5 + 0.2 * Math.cos(turn), 0.5 + 0.3 * Math.sin(turn)];
    const [clientX, clientY] = [left + right * width, top + down * height];
    place.dispatchEvent(new PointerEvent(type, { clientX, clientY, button: 0, pointerId: 1, bubbles: true }));
  };
  fire("pointerdown", 0);
  for (let step = 1; step < 80; step++) fire("pointermove", step / 13);
  const start = performance.now();
  fire("pointerup", 0);
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
})"""
FILTERS = {
    "view: all": ("[data-view=all]", None),
    "class": ("[name=label]", "7"),
    "any class": ("[name=label]", ""),
    "score from": ("[name=low]", "0.5"),
    "score to": ("[name=high]", "0.9"),
    "any score": ("[name=high]", ""),
    "sort by derivative": ("[name=sort]", "wanted"),
    "sort by weight": ("[name=sort]", "light"),
    "round": ("[name=round]", "0"),
    "any round": ("[name=round]", ""),
    "column": ("[name=column]", "1"),
    "value of a column": ("[name=value]", "2"),
    "colour of the map": ("#map-colour", "5"),
    "view: left": ("[data-view=left]", None),
    "view: called wrong": ("[data-view=called]", None),
}


def photographs(amount: int, seed: int = 0) -> list[tuple[str, str]]:
    """Paths and ids of JPEG files of smooth noise."""
    rng, folder = np.random.default_rng(seed), paths.raw("core")
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number in range(amount):
        rough = Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).resize(
            (192, 192), Image.Resampling.BICUBIC
        )
        grain = np.asarray(rough, np.int16) + rng.normal(0, 6, (192, 192, 1)).astype(np.int16)
        path = folder / f"photo {number:05d}.jpg"
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(path, quality=85)
        found.append((path.as_posix(), (digest(path) or "")[:ID_LENGTH]))
    return found


def samples(rows: int, photos: int, seed: int = 0) -> pl.DataFrame:
    """A curated set of that many rows; every twelfth label is called wrong."""
    rng = np.random.default_rng(seed)
    names = [f"class {number:03d}" for number in range(CLASSES)]
    shown = photographs(photos, seed)
    places = rng.permutation(rows)[:photos]
    ids = [rng.bytes(16).hex() for _ in range(rows)]
    files = [f"data/raw/core/photo {number:06d} of a longer name.jpg" for number in range(rows)]
    for place, (path, sample_id) in zip(places, shown, strict=True):
        files[place], ids[place] = path, sample_id
    given, other = rng.integers(0, CLASSES, (2, rows))
    called = rng.random(rows) < 1 / 12
    core = np.arange(rows) < CORE * rows
    score = np.where(called, 1 - rng.beta(1, 20, rows), rng.beta(1, 8, rows))
    label = pl.Series([names[code] for code in given])
    return pl.DataFrame(
        {
            "sample_id": ids, "path": files, "row": np.arange(rows), "label": label, "given_label": label,
            "suggested_label": [names[b if wrong else a] for a, b, wrong in zip(given, other, called, strict=True)],
            "flagged": called & core, "origin": np.where(core, "core", "pool"), "round": np.where(core, "r000", "r001"),
            "derivative": rng.normal(0, 1e-4, rows), "margin": rng.normal(0.2, 0.2, rows), "score": score,
            "reason": [f"called {names[code]} at margin {value:.3f}" for code, value in zip(other, score, strict=True)],
        }
    ).with_columns(
        batch=pl.lit("core"), features=pl.lit("data/features/core.h5"), status=pl.lit("member"),
        changed_in=pl.lit(None, pl.String),
    )  # fmt: skip


def made_up(rows: int, photos: int) -> ReportData:
    """A run of that many samples."""
    stage_inputs.write_params(score={"methods": ["soft"]}, report={})
    finish()
    small, every = report.read(), samples(rows, photos)
    with h5py.File("data/features/core.h5", "w") as file:
        features = np.random.default_rng(1).normal(size=(rows, FEATURES)).astype(np.float16)
        file.create_dataset("features", data=features)
    state, left = every.head(round((1 - LEFT) * rows)), every.tail(rows - round((1 - LEFT) * rows))
    weights = state.select("sample_id", "derivative", "margin", weight=1 - 2000 * pl.col("derivative"))
    core = state.filter(pl.col("origin") == "core")
    return dataclasses.replace(
        small,
        state=state.select(list(curated.SCHEMA)).cast(dict(curated.SCHEMA)),  # type: ignore[arg-type]
        before=None,
        remaining=left.with_columns(gain="derivative")
        .select(list(evaluation.REMAINING))
        .with_columns(reason=pl.lit("no room yet")),
        weights=weights.with_columns(pl.col("weight").clip(0)).select(list(release.WEIGHTS)),
        scores={"soft": core.select(list(curated.SCORES))},
        train=state.with_columns(weight=1.0, group=pl.lit(None, pl.String)).select(list(release.TRAIN)),
        truth=core.select("sample_id", true_label="suggested_label"),
        columns=every.select("sample_id", site=pl.col("row") % 7, iso=pl.col("score") * 1000),
    )


def opened(address: str, repeats: int) -> dict[str, Any]:
    """Times in milliseconds, measured in the browser."""
    from playwright.sync_api import sync_playwright

    first: list[float] = []
    lasso: list[float] = []
    opening: list[float] = []
    processor: list[float] = []
    filters: dict[str, list[float]] = {name: [] for name in FILTERS}
    with sync_playwright() as playwright:
        program = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        version = browser.version
        for _ in range(repeats):
            view = browser.new_page(viewport={"width": 1440, "height": 900})
            tasks = view.context.new_cdp_session(view)
            tasks.send("Performance.enable", {"timeDomain": "threadTicks"})
            view.goto(address)
            view.wait_for_selector("html[data-ready]", timeout=120_000)
            opening.append(busy(tasks))
            first.append(float(view.evaluate("() => Number(document.documentElement.dataset.ready)")))
            view.wait_for_timeout(1000)
            start = busy(tasks)
            lasso.append(float(view.evaluate(LASSO)))
            processor.append(busy(tasks) - start)
            for name, step in FILTERS.items():
                filters[name].append(float(view.evaluate(FRAMES, list(step))))
            view.close()
        browser.close()
    middle = {name: statistics.median(values) for name, values in filters.items()}
    return {
        "chromium": version,
        "first_view_ms": spread(first),
        "first_view_processor_ms": spread(opening),
        "lasso_to_gallery_ms": spread(lasso),
        "lasso_processor_ms": spread(processor),
        "filter_ms": {"median": statistics.median(middle.values()), "worst": max(map(max, filters.values()))},
        "filters_ms": {name: spread(values) for name, values in filters.items()},
    }


def busy(tasks: Any) -> float:
    """Processor milliseconds of the page's own thread so far."""
    metrics = tasks.send("Performance.getMetrics")["metrics"]
    return 1000 * float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def spread(values: list[float]) -> dict[str, float]:
    """Median and extremes, rounded."""
    return {
        "median": round(statistics.median(values), 1),
        "least": round(min(values), 1),
        "most": round(max(values), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--photos", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    out = options.out.absolute() if options.out else None
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        data = made_up(options.rows, options.photos)
        wall, processor = time.perf_counter(), time.process_time()
        html = page.render(data, LIMITS)
        rendered = {
            "seconds": round(time.perf_counter() - wall, 2),
            "cpu_seconds": round(time.process_time() - processor, 2),
        }
        Path("page.html").write_text(html, encoding="utf-8")
        told = {"rows": options.rows, "limits": LIMITS._asdict(), "megabytes": round(len(html.encode()) / 1e6, 2)}
        told |= {"thumbnails": html.count("UklGR"), "rendered": rendered, "machine": machine.description()}
        result = {**told, **opened(Path("page.html").absolute().as_uri(), options.repeats)}
    machine.publish(result, out)


if __name__ == "__main__":
    main()
