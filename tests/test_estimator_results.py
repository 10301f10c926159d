"""Results that one looks at, and what ``help()`` says."""

import doctest
import inspect
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from diva import estimators
from diva.estimators import (
    DivaClassifier,
    consensus,
    detect,
    detect_multilabel,
    detect_regression,
    explain,
    extend,
    reweight,
    suggest,
)
from tests.test_estimators import planted


def test_results_are_drawn():
    """By what each picture shows of its values."""
    matplotlib.use("agg")
    X, y, _, _ = planted(300)
    detection = detect(X, y)
    axes = detection.plot()
    tops = [sum(bar.get_height() for bar in bars) for bars in axes.containers]
    assert tops == [(~detection.flagged).sum(), detection.flagged.sum()]
    votes = np.column_stack([y, y, np.roll(y, 1)])
    table = np.column_stack([y == 0, y == 1]).astype(int)
    table[0] = 1 - table[0]
    pictures = {
        "weight": reweight(X, y, steps=1),
        "samples added": extend(X[:100], y[:100], X[100:], y[100:], budget=5),
        "labels asked for": suggest(X[:100], y[:100], X[100:], budget=5),
        "annotator": consensus(X, votes),
        "entries flagged": detect_multilabel(X, table),
        "score, high where suspicious": detect_regression(X, y.astype(float)),
    }
    assert {label: result.plot().get_xlabel() for label, result in pictures.items()} == {x: x for x in pictures}
    own = Figure().subplots()
    assert explain(X, y, 0).plot(own) is own
    assert len(own.containers) == 2
    pyplot.close("all")


def test_help_says_what_comes_back_and_its_examples_hold():
    for name in estimators.__all__:
        member = getattr(estimators, name)
        if inspect.isfunction(member) or member is DivaClassifier:
            examples = doctest.DocTestFinder(recurse=False).find(member, name)[0]
            assert examples.examples, f"{name} shows no example"
            assert not inspect.isfunction(member) or "Returns:" in member.__doc__, name
            assert doctest.DocTestRunner().run(examples).failed == 0, name


def test_without_matplotlib_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    X, y, _, _ = planted(300)
    with pytest.raises(ImportError, match=r"pip install 'diva-curation\[plot\]'"):
        detect(X, y).plot()
