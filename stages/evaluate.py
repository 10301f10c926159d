"""Stage ``evaluate``: what each training set is worth, by the test error of the same linear head; the planted truth."""

import logging

from diva.curation import judgement
from diva.curation.network_panel import finetuned as judged
from diva.curation.rows import read_problem
from diva.methods import registry
from diva.numerics.residence import rows_stay
from diva.store import evaluation, paths, tables
from diva.store.features import FeatureFile
from stages.command import run
from stages.params import section
from stages.params.evaluate import Evaluate
from stages.params.extract import Extract
from stages.params.reweight import Reweight
from stages.policy import policy

logger = logging.getLogger(__name__)


@rows_stay()
def main() -> None:
    """data/metrics/evaluate.json and data/evaluation."""
    settings, weighing = section.read("evaluate", Evaluate), section.read("reweight", Reweight).weighing
    newest = judgement.newest(read_problem())
    interim = evaluation.interim_wanted(newest.book)
    trial = newest.trial(
        settings.held_out, settings.seed, draws=settings.draws, uniform=settings.uniform, weighing=weighing
    )
    made = judgement.judge(newest, trial, () if interim else settings.learners, settings.learner_rows)
    if settings.finetune and not interim:
        for name, figures in finetuned(made, settings).items():
            made.trained[name]["finetuned"] = figures
    metrics = made.metrics() | ({"interim": True} if interim else {})
    tables.write_json(paths.metrics("evaluate"), metrics)
    latest = newest.book.rounds.get(newest.book.latest)
    rules = policy(latest) if latest else None
    for name, table in made.tables(settings.steps, rules, registry, (settings.noise, settings.drift)):
        evaluation.write(name, table)
    trial.results.prune()
    if metrics["warning"]:
        logger.warning("%s", metrics["warning"])
    logger.info("test error of the core %(error).4f [%(low).4f, %(high).4f]", made.trained["core"])


def finetuned(made: judgement.Comparison, settings: Evaluate) -> dict[str, dict[str, float]]:
    """Figures of the network of ``extract``, fine-tuned on the images of the core, of the release, and of everything.

    Raises:
        ValueError: the features were delivered ready.
    """
    from diva.vision import tuning  # seconds that other evaluations need not wait
    from diva.vision.image_features import NetworkSettings, load_network

    network = section.read("extract", Extract)
    if FeatureFile(paths.features("core")).attributes["backbone"] == "ready":
        raise ValueError(f"evaluate.finetune must be 0 where features were delivered ready, got {settings.finetune}.")
    backbone, transform = load_network(NetworkSettings(**network.model_dump(exclude={"dtype"})))
    how = tuning.Tuning(settings.finetune, seed=settings.seed, device=network.device)
    asked = {name: made.compared[name] for name in ("core", made.used, "everything")}
    return judged(made.trial, asked, tuning.judge(backbone, transform, how), (network.model_dump(), how))


if __name__ == "__main__":
    run(main)
