"""What Extend left in the pool, and why: every unused sample under the newest set, by the newest round's own rule."""

import polars as pl
import torch

from diva.curation.extend import Noise, RoundChoice
from diva.numerics.losses import THRESHOLD
from diva.numerics.products import times
from diva.numerics.ridge import RidgeModel
from diva.store import curated, ledger, paths, tables
from diva.store.curated import reviewed
from diva.store.evaluation import LEFT
from stages import rows, sums
from stages.extend import choose
from stages.params.extend import Extend
from stages.params.section import validate

REJECTED = "rejected by people"
HOPELESS = "label probably wrong"
HARMFUL = "would raise the validation loss"
WAITING = "a candidate; no room yet"
UNTOUCHED = "no round has drawn from the pool"


def left(book: ledger.Ledger, state: pl.DataFrame, pool: pl.DataFrame, classes: list[str]) -> pl.DataFrame:
    """One row per unused sample of the pool, with the schema ``LEFT``."""
    unused = pool.join(state, on="sample_id", how="anti", maintain_order="left")
    if unused.is_empty() or book.latest not in book.rounds:
        return _as_left(unused.with_columns(reason=pl.lit(UNTOUCHED)))
    entry, fit = ledger.round_(book, book.latest), rows.read_fit()
    settings = validate(entry.settings.get("extend"), Extend, f"{paths.LEDGER}:rounds.{book.latest}.settings.extend")
    people = tables.read(paths.review(entry.review), curated.REVIEW)
    candidates = reviewed(unused, people)
    members = rows.counted(sums.members(state), book.latest, pool, classes, fit)
    turn, noise = choose(members, candidates, pool, classes, fit, settings, state, people)
    judged = candidates.with_columns(
        gain=pl.Series(turn.gain.numpy()),
        derivative=pl.Series(turn.derivative.numpy()),
        margin=pl.Series(turn.margin.numpy()),
        **predicted(rows.prepared(candidates, classes, fit), turn.model, classes, fit.temperature),
    )
    rejected = unused.join(candidates, on="sample_id", how="anti", maintain_order="left")
    told = judged.with_columns(reason=reason(turn, noise, settings))
    return pl.concat([_as_left(told), _as_left(rejected.with_columns(reason=pl.lit(REJECTED)))])


def predicted(chunks: rows.Rows, model: RidgeModel, classes: list[str], temperature: float) -> dict[str, pl.Series]:
    """Suggested label argmax f, and the soft score 1 − softmax(T f)_y, of rows outside the model."""
    codes, scores = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0, dtype=torch.float64)]
    for z, labels, _ in chunks:
        outputs = times(z, model.head.to(z)).double()
        codes.append(outputs.argmax(1).cpu())
        scores.append(1 - torch.softmax(temperature * outputs, 1).gather(1, labels[:, None])[:, 0].cpu())
    names = [classes[code] for code in torch.cat(codes).tolist()]
    return {"suggested_label": pl.Series(names, dtype=pl.String), "score": pl.Series(torch.cat(scores).numpy())}


def reason(turn: RoundChoice, noise: Noise, settings: Extend) -> pl.Series:
    """Why each of the round's candidates was left, in the words above."""
    if settings.choose != "derivative":
        return pl.Series([f"not among the first of {settings.choose}"] * len(turn.margin), dtype=pl.String)
    calibrated = settings.loss == "calibrated"
    hopeless = (turn.margin <= -THRESHOLD) & (noise.noisy or not calibrated)
    harmful = (turn.gain if calibrated else turn.derivative) >= 0
    return pl.Series(
        [HOPELESS if bad else HARMFUL if worse else WAITING for bad, worse in zip(hopeless, harmful, strict=True)],
        dtype=pl.String,
    )


def _as_left(frame: pl.DataFrame) -> pl.DataFrame:
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in LEFT.items() if name not in frame.columns]
    return tables.conform(frame.with_columns(missing).select(list(LEFT)), LEFT, "left")
