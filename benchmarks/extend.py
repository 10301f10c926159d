"""What a round of Extend costs after the first, beside one pass over the pool.

    python -m benchmarks.extend [--threads 2] [--repeats 5] [--out FILE.json] [--quick]

A core of a tenth of the pool, p = 512, k = 100. A round after the first: the moments of what the last one added, a
factorisation, the second pass over the members (with `members_and_pool` over the pool, too) and the third over the
pool. The pass it is held against is the first round's third pass over the pool, which computes leverages, derivatives
and margins; with `members_and_pool` the pool's share of the second pass counts as part of it.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.derivative import BY, LOSS, RIDGE, Rows, interleaved, rows
from benchmarks.machine import description, threads
from diva.curation.additions import RoundSettings
from diva.curation.extend import downdate, extend_round
from diva.numerics.adjoint import member_pass, outsider_adjoint
from diva.numerics.chunks import Chained, Subset
from diva.numerics.derivative import outsider_derivatives
from diva.numerics.precision import RidgeFit
from diva.numerics.ridge import Moments, moments, solve
from diva.text.choices import ValidateOn

P, K = 512, 100


class Second:
    """The second round: a first one has added the first ``size`` rows of the pool."""

    def __init__(self, core: Rows, pool: Rows, size: int) -> None:
        self.core, self.pool, self.size = core.chunks(), pool.chunks(), size
        self.unused = torch.arange(len(pool.z)) >= size
        self.rest, self.added = Subset(self.pool, self.unused), pool.z[:size]
        self.sums = moments(self.core, K)
        self.model = solve(self.sums, RIDGE)
        self.adjoint = member_pass(self.core, self.model, LOSS)[0]
        self.factor = outsider_derivatives(self.pool, self.model, self.adjoint, None).leverage_factor

    def pool_pass(self, validate_on: ValidateOn) -> None:
        """Over as many rows as the second round has left, by the first round's model."""
        if validate_on == "members_and_pool":
            outsider_adjoint(self.rest, self.model, LOSS)
        outsider_derivatives(self.rest, self.model, self.adjoint, LOSS if validate_on == "members_and_pool" else None)

    def anew(self, validate_on: ValidateOn) -> None:
        """The round as if nothing were known but the sums."""
        sums = self.sums + moments(Subset(self.pool, ~self.unused), K)
        self._round(sums, None, validate_on)

    def updated(self, validate_on: ValidateOn) -> None:
        """The round with the leverages of the pool updated by what was added."""
        sums = self.sums + moments(Subset(self.pool, ~self.unused), K)
        g = downdate(self.rest, self.factor[self.size :], self.model, self.added)
        self._round(sums, g, validate_on)

    def _round(self, sums: Moments, g: torch.Tensor | None, validate_on: ValidateOn) -> None:
        members = RidgeFit(Chained([self.core, Subset(self.pool, ~self.unused)]), sums, solve(sums, RIDGE))
        extend_round(members, self.rest, LOSS, RoundSettings(100, validate_on=validate_on), leverage_factor=g)


def measure(n_pool: int, size: int, repeats: int) -> dict[str, Any]:
    """A round after the first that has added ``size`` rows."""
    both = rows(n_pool + n_pool // 10, P, K)
    second = Second(
        replace(both, z=both.z[n_pool:], labels=both.labels[n_pool:]),
        replace(both, z=both.z[:n_pool], labels=both.labels[:n_pool]),
        size,
    )
    found: dict[str, Any] = {"pool": n_pool, "core": n_pool // 10, "added": size}
    for validate_on in ("members", "members_and_pool"):
        times = interleaved(
            {
                "pool pass": lambda on=validate_on: second.pool_pass(on),
                "round anew": lambda on=validate_on: second.anew(on),
                "round updated": lambda on=validate_on: second.updated(on),
            },
            repeats,
        )
        found[validate_on] = {"seconds": times} | {
            name: {by: round(times[name][by] / times["pool pass"][by], 3) for by in BY}
            for name in ("round anew", "round updated")
        }
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="a pool of 20,000, three repeats: under a minute")
    options = parser.parse_args()
    threads(options.threads)
    n_pool, repeats = (20_000, 3) if options.quick else (200_000, options.repeats)
    found = [measure(n_pool, size, repeats) for size in (64, 1000)]
    for each in found:
        for validate_on in ("members", "members_and_pool"):
            for name in ("round anew", "round updated"):
                ratio = each[validate_on][name]
                told = ", ".join(f"{ratio[by]:.2f} ({by})" for by in BY)
                print(f"{each['added']:5} added, {validate_on:17} {name} / pool pass {told}")
    if options.out:
        options.out.write_text(json.dumps({"machine": description(), "rounds": found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
