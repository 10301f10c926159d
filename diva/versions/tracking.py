"""Which version a training takes, said to MLflow by ``mlflow.log_input``.

MLflow is what the training brings: no extra of this package, as it asks for older libraries than the pins.
"""

from diva.store import digests, paths
from diva.versions import contents, published

DIGEST_LENGTH = 32  # of the 36 characters that MLflow keeps


def log_input(name: str | None = None, context: str = "training") -> str:
    """Log a version as an input of MLflow's active run, with what fetches it; return its name.

    Args:
        name: such as ``v0.3.0``; what lies here, unless given.
        context: what it is used for, as MLflow shows it.

    Raises:
        ImportError: MLflow is not installed.
        ValueError: there is no such version, or its training set is neither here nor on DVC's remote.
    """
    try:
        import mlflow
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset
    except ImportError:
        raise ImportError("mlflow must be installed to log to it; pip install mlflow-skinny.") from None
    version = published.find(name)
    where = {"path": paths.TRAIN.as_posix(), "rev": version.name, "commit": version.commit}
    source = CodeDatasetSource(tags=where | {"fetch": f"dvc get . {paths.TRAIN.as_posix()} --rev {version.name}"})
    digest = digests.sha256(contents.fetch(version, paths.TRAIN))[:DIGEST_LENGTH]
    figures = {"version": version.name, "samples": version.size, "test_error": version.error}
    tags = {key: str(value) for key, value in figures.items() if value is not None}
    mlflow.log_input(MetaDataset(source, name="curated", digest=digest), context=context, tags=tags)
    return version.name
