"""HOST-CP behind the common interface: its set as values 1 and 0, and its set as a choice from a pool.

The method itself, its formula and its reference are in `diva.methods.host_cp`.
"""

from typing import Any

from torch import Tensor

from diva.methods.host_cp import Settings, Subset, host_cp
from diva.methods.host_cp_program import Program
from diva.methods.inputs import Classes, labelled, pair


def chosen_set(
    features: Any,
    labels: Any,
    *,
    classes: Classes = None,
    program: Program = "smooth",
    fraction: float = 0.2,
    epochs: int = 5,
    batch_size: int = 40,
    seed: int = 0,
) -> Tensor:
    """1 where chosen, else 0 (n,) float64; options as in `diva.methods.host_cp.Settings`."""
    data = labelled(features, labels, classes, at_least=2)
    settings = Settings(program=program, fraction=fraction, epochs=epochs, batch_size=batch_size, seed=seed)
    return _run(data.features, data.labels, settings).selected.double()


def order(
    core_features: Any,
    core_labels: Any,
    pool_features: Any,
    pool_labels: Any,
    *,
    classes: Classes = None,
    program: Program = "smooth",
    fraction: float = 0.2,
    epochs: int = 5,
    batch_size: int = 40,
    seed: int = 0,
) -> Tensor:
    """Pool positions, the set chosen from the pool alone first, then by the norm that decides."""
    _, pool = pair(core_features, core_labels, pool_features, pool_labels, classes)
    settings = Settings(program=program, fraction=fraction, epochs=epochs, batch_size=batch_size, seed=seed)
    return (-_run(pool.features, pool.labels, settings).norms).argsort(stable=True)


def _run(features: Tensor, labels: Tensor, settings: Settings) -> Subset:
    return host_cp(features, labels, settings, device=features.device)
