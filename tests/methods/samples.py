"""Small labelled sets that the tests of the methods share."""

import numpy as np


def clusters(seed=0, n=60, p=6, classes=3, wrong=6, spread=0.3):
    """Rows around one centre per class, labels, and which labels were made wrong."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, p))
    true = np.arange(n) % classes
    x = centres[true] + spread * rng.normal(size=(n, p))
    bad = np.zeros(n, dtype=bool)
    bad[rng.permutation(n)[:wrong]] = True
    return x, np.where(bad, (true + 1) % classes, true), bad
