"""Curated training sets by the dataset derivative; see README.md in this folder for the derivation.

``diva.detect``, ``diva.DivaClassifier`` and what else `ESTIMATORS` names are those of `diva.estimators`, which is
imported when one of them is asked for: importing one part of the package must not cost another's seconds.
"""

from typing import Any

ESTIMATORS = (
    "DivaClassifier",
    "detect",
    "detect_multilabel",
    "detect_regression",
    "explain",
    "extend",
    "extend_multilabel",
    "extend_regression",
    "reweight",
    "reweight_multilabel",
    "reweight_regression",
    "suggest",
    "suggest_multilabel",
    "suggest_regression",
    "consensus",
    "annotation_table",
)


def __getattr__(name: str) -> Any:
    if name in ESTIMATORS:
        from diva import estimators

        return getattr(estimators, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("diva-curation")
    raise AttributeError(f"module 'diva' has no attribute {name!r}; it has {', '.join(ESTIMATORS)}.")
