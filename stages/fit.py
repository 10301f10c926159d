"""Stage ``fit``: ridge and temperature by leave-one-out on the core, once; the core's moments."""

import logging

import polars as pl
import torch

from diva.numerics import device
from diva.numerics.grid import choose_ridge
from diva.numerics.leave_one_out import choose_temperature
from diva.numerics.normalize import Prepared, scaling
from diva.numerics.ridge import RidgeModel
from diva.store import index, manifest, paths, tables
from diva.store.features import FeatureFile
from stages import near, rows
from stages.command import run
from stages.params import section
from stages.params.duplicates import Duplicates
from stages.params.fit import Fit

logger = logging.getLogger(__name__)


def fit() -> None:
    """data/fit: the core's index without images of the test set, the problem posed, its moments."""
    settings = section.read("fit", Fit)
    core, refused = without_test(index.of_batch("core", manifest.read(paths.manifest("core")), paths.features("core")))
    classes = sorted(core["label"].unique())
    if len(classes) < 2:
        raise ValueError(
            f"batches.core must hold two classes beside the {len(refused)} samples set aside, got {classes}."
        )
    place = device.resolve(settings.device)
    width = FeatureFile(core["features"][0]).shape[1]
    size = device.chunk_size(width + 1, place) if settings.chunk_size == "auto" else settings.chunk_size
    dtype = device.precision(place) if settings.dtype == "auto" else getattr(torch, settings.dtype)
    raw = rows.stored(core, classes, size, place=place)
    scale = scaling(raw) if settings.normalize == "standardize" else None
    chunks = rows.spread(raw, lambda part: Prepared(part, settings.normalize, scaling=scale, device=place, dtype=dtype))
    choice = choose_ridge(chunks, len(classes), settings.ridges)
    fitted = choice.fit()
    if fitted.chunks is not chunks:  # float32 was not enough
        dtype = torch.float64
    temperature = choose_temperature(fitted)
    chosen = rows.Fit(
        ridge=choice.ridge, temperature=temperature, classes=classes, loo_error=choice.error,
        grid=[{"ridge": ridge, "loo_error": error, "loo_loss": loss} for ridge, error, loss in choice.grid],
        excluded=len(refused), normalize=settings.normalize, chunk_size=size, device=settings.device,
        dtype="float64" if dtype == torch.float64 else "float32",
    )  # fmt: skip
    rows.write_fit(chosen, fitted.moments, scale)
    index.write(paths.CORE, core)
    tables.write(paths.quarantine("fit", "core"), refused, manifest.QUARANTINE)
    report(chosen, fitted.model, len(core))


def without_test(core: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The core without test images and near-duplicates, and without classes that this leaves one sample of."""
    threshold, samples = section.read("duplicates", Duplicates).near_duplicate, manifest.read(paths.manifest("test"))
    test = index.of_batch("test", samples, paths.features("test"))
    tested = core["sample_id"].is_in(samples["sample_id"].implode()) | index.delivered_ready(core, test)
    others = core.filter(~tested)
    left, close = near.apart(others, test, others, threshold)
    alone = pl.len().over("label") == 1
    refused = [
        manifest.set_aside(core.filter(tested), "in the test set: test images never train", "Nothing to do."),
        close,
        manifest.set_aside(
            left.filter(alone), "class of one sample: leave-one-out needs two", "Add a second sample of this class."
        ),
    ]
    return left.filter(~alone), pl.concat(refused)


def report(fit: rows.Fit, model: RidgeModel, samples: int) -> None:
    """Metrics and a line for the log."""
    numbers = {"ridge": fit.ridge, "temperature": fit.temperature, "loo_error": fit.loo_error}
    counts = {"samples": samples, "classes": len(fit.classes), "excluded": fit.excluded}
    tables.write_json(paths.metrics("fit"), numbers | counts | model.accuracy)
    edge = {fit.grid[0]["ridge"], fit.grid[-1]["ridge"]}
    logger.info("ridge %g, temperature %.3g, leave-one-out error %.4f", fit.ridge, fit.temperature, fit.loo_error)
    if fit.ridge in edge and len(fit.grid) > 1:
        logger.warning("the ridge lies on the edge of fit.ridges: widen the grid")


if __name__ == "__main__":
    run(fit)
