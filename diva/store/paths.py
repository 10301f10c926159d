"""Where everything lies, relative to the project's folder (the working directory of every stage)."""

from pathlib import Path

DATA = Path("data")
BASE = DATA / "base"
CODE = DATA / "code"
LEDGER = DATA / "ledger.yaml"
PARAMS = Path("params.yaml")
FIT = DATA / "fit" / "fit.json"
CORE = DATA / "fit" / "core.parquet"
MOMENTS = DATA / "fit" / "moments.h5"
CALLS = DATA / "weights" / "called_wrong.parquet"  # of samples that no round chose, where the release holds all
RELATIVES = DATA / "fit" / "relatives.parquet"  # groups that nobody named, where the core has some
ANNOTATORS = DATA / "fit" / "annotators.parquet"  # of the core: how often each is right
VOTES = DATA / "fit" / "votes.parquet"  # of the core: soft labels, those worth another vote first
WEIGHTS = DATA / "weights" / "weights.parquet"
WEIGHTS_HISTORY = DATA / "weights" / "history.json"
TRAIN = DATA / "release" / "train.parquet"
REMOVED = DATA / "release" / "removed.parquet"
ENTRIES = DATA / "release" / "entries.parquet"  # of several labels, which are called missing or wrong
SUMMARY = DATA / "release" / "summary.json"
METRICS = DATA / "metrics"
PLOTS = METRICS / "plots"
FIGURES = PLOTS / "figures.json"
LABELS = DATA / "labels"  # records of labels that people gave, in git
SUGGESTED = DATA / "suggested"
PENDING = DATA / "reviews" / "pending.csv"
TEST_DECISIONS = DATA / "reviews" / "test-decisions.csv"  # of people on the test set, in git
REPORT = DATA / "report" / "index.html"
RESULTS = Path(".dvc", "tmp", "results")  # of evaluations, on this machine alone
PAGE = Path(".dvc", "tmp", "page")  # parts of the report's page that the next one has, too, on this machine alone
THUMBNAILS = PAGE / "thumbnails.npz"


def evaluation(table: str) -> Path:
    """A table of ``evaluate``: classes, steps or left."""
    return DATA / "evaluation" / f"{table}.parquet"


def code(stage: str) -> Path:
    """Digests of the files that a stage is made of."""
    return CODE / f"{stage}.json"


def raw(batch: str) -> Path:
    """Folder of the images a delivery brought (empty where they are read in place)."""
    return DATA / "raw" / batch


def is_written(path: str | Path) -> bool:
    """Whether an image lies where ``download`` wrote it, or a compaction moved it."""
    return not {DATA / "raw", BASE / "raw"}.isdisjoint(Path(path).parents)


def manifest(batch: str) -> Path:
    """What a delivery holds."""
    return DATA / "manifests" / f"{batch}.parquet"


def truth(batch: str) -> Path:
    """The planted truth, where there is one; only evaluate and report read it."""
    return DATA / "truth" / f"{batch}.parquet"


def quarantine(stage: str, batch: str) -> Path:
    """What a stage set aside, with the reasons."""
    return DATA / "quarantine" / f"{stage}-{batch}.parquet"


def features(batch: str) -> Path:
    """Features of a batch."""
    return DATA / "features" / f"{batch}.h5"


def is_features(path: str | Path) -> bool:
    """Whether a file is one of features that were made here, of whatever batch."""
    return Path(path).parent in (DATA / "features", BASE / "features")


def augmented(batch: str, variant: str) -> Path:
    """Features of a batch's images after a transformation."""
    return DATA / "augment" / batch / f"{variant}.h5"


def augmented_plot(batch: str) -> Path:
    """Table behind the plot of what transformations are worth."""
    return METRICS / "augment" / f"{batch}.csv"


def embeddings(shots: str) -> Path:
    """Embeddings of class names, and the order in which Extend adds them."""
    return DATA / "multimodal" / f"{shots}.parquet"


def multimodal_plot(shots: str) -> Path:
    """Table behind the plot of the test error while embeddings are added."""
    return METRICS / "multimodal" / f"{shots}.csv"


def pool(version: str) -> Path:
    """Index of the pool after a batch."""
    return DATA / "pool" / f"{version}.parquet"


def scores(method: str) -> Path:
    """Scores of the core by a method."""
    return DATA / "scores" / f"{method}.parquet"


def changes(round_: str) -> Path:
    """What a round changes."""
    return DATA / "rounds" / f"{round_}.parquet"


def moments(round_: str) -> Path:
    """Moments of the set after a round."""
    return DATA / "moments" / f"{round_}.h5"


def review(version: str) -> Path:
    """Decisions of people."""
    return DATA / "reviews" / f"{version}.parquet"


def curated(round_: str) -> Path:
    """The curated set after a round."""
    return DATA / "curated" / f"{round_}.parquet"


def base(table: str) -> Path:
    """A table that a compacted history starts from: curated, pool or truth."""
    return BASE / f"{table}.parquet"


def suggested(batch: str) -> Path:
    """Samples to label next, of a batch, or of the whole pool by the name ``pool``."""
    return SUGGESTED / f"{batch}.parquet"


def metrics(stage: str) -> Path:
    """Metrics of a stage."""
    return METRICS / f"{stage}.json"
