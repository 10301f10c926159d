"""The front door for notebooks: a scikit-learn classifier; detect, reweight, extend, suggest, explain on plain arrays.

    f(x) = Wᵀ[z(x), 1],    z(x) = x / ‖x‖ by default (normalize),    W from weighted ridge regression (ridge)

X (n, p) is a numpy array (or a list, or a data frame), a torch tensor, or an h5py data set, of any real dtype; y (n,)
are labels, strings or numbers. Tensors and data sets are read ``chunk_size`` rows at a time, several times, and never
as a whole. Results are numpy arrays in frozen dataclasses, labels of the type they were given in.

Everything takes the same keyword arguments:

    groups       (n,) of numbers or strings: what belongs together (views of an image, frames of a video, one patient)
                 and is left out together. `auto` (None) asks whether leaving near relatives out together raises the
                 leave-one-out error (`diva.curation.relatives`); if so it warns, and leaves them out. `never` and
                 `always` do not ask. Groups of more than ten that nobody names can escape it: name them.
    ridge        λ > 0, or `loo`: chosen by leave-one-out error (of ``extend``, on the core)
    normalize    `unit` (rows to length 1), `none` or `standardize`
    chunk_size   rows in memory at a time; `auto`: by the processor's cache or the card's memory
    device       `auto` (CUDA where there is one), or what torch calls a device
    dtype        `float32` or `float64`, of the rows (`auto`: float64 on CUDA cards that have it at full rate, else
                 float32, and float64 where that is not enough); what is p×p is float64 in any case

The defaults are ours. The paper's are ``score="derivative", rule="derivative"`` for ``detect``, ``loss="hard_margin"``
for ``reweight``, and for ``extend`` with ``validate_on="members"`` beside it.

Reference: Dukler et al., DIVA: Dataset Derivative of a Learning Task, ICLR 2022.
"""

from diva.estimators.annotations import annotation_table, consensus
from diva.estimators.classifier import DivaClassifier
from diva.estimators.curation import detect, explain, extend, reweight
from diva.estimators.labelling import suggest
from diva.estimators.results import (
    ConsensusLabels,
    Detection,
    Explanation,
    Extension,
    NextLabels,
    Reweighting,
    RoundSummary,
)
from diva.estimators.target_curation import (
    extend_multilabel,
    extend_regression,
    suggest_multilabel,
    suggest_regression,
)
from diva.estimators.target_results import EntryDetection, NumberDetection
from diva.estimators.targets import detect_multilabel, detect_regression, reweight_multilabel, reweight_regression

__all__ = [
    "ConsensusLabels",
    "Detection",
    "DivaClassifier",
    "EntryDetection",
    "Explanation",
    "Extension",
    "NextLabels",
    "NumberDetection",
    "Reweighting",
    "RoundSummary",
    "annotation_table",
    "consensus",
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
]
