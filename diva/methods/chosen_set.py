"""HOST-CP behind the common interface: its set as values 1 and 0, and its set as a choice from a pool.

The method itself, its formula and its reference are in `diva.methods.host_cp`.
"""

from torch import Tensor

from diva.methods.host_cp import Settings, ValuedSubset, host_cp
from diva.methods.host_cp_program import Program
from diva.methods.inputs import Labelled


def chosen_set(
    data: Labelled,
    *,
    program: Program = "smooth",
    fraction: float = 0.2,
    epochs: int = 5,
    batch_size: int = 40,
    seed: int = 0,
) -> Tensor:
    """1 where chosen, else 0 (n,) float64; options as in `diva.methods.host_cp.Settings`."""
    data.require_classes(2)
    settings = Settings(program=program, fraction=fraction, epochs=epochs, batch_size=batch_size, seed=seed)
    return _run(data, settings).selected.double()


def order(
    _: Labelled,
    pool: Labelled,
    *,
    program: Program = "smooth",
    fraction: float = 0.2,
    epochs: int = 5,
    batch_size: int = 40,
    seed: int = 0,
) -> Tensor:
    """Pool positions, the set chosen from the pool alone first, then by the norm that decides."""
    settings = Settings(program=program, fraction=fraction, epochs=epochs, batch_size=batch_size, seed=seed)
    return (-_run(pool, settings).norms).argsort(stable=True)


def _run(data: Labelled, settings: Settings) -> ValuedSubset:
    return host_cp(data.features, data.labels, settings, device=data.features.device)
