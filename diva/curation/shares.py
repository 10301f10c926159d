"""Shares of samples and what is known of them: Wilson's interval, and Benjamini and Hochberg's correction.

    q_i = min over j with p_j ≥ p_i of p_j m / rank(p_j),    m tests; what has q ≤ .05 is false in 5 % on average

Benjamini, Hochberg: Controlling the false discovery rate, J. R. Stat. Soc. B 57, 1995.
"""

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Z = 1.96  # quantile of the normal distribution, for intervals of 95 %


def wilson(part: npt.ArrayLike, whole: npt.ArrayLike) -> tuple[Numbers, Numbers]:
    """Ends of the interval of 95 % of shares part / whole, whole > 0."""
    n = np.asarray(whole, np.float64)
    share = np.asarray(part, np.float64) / n
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * np.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return np.maximum(0.0, centre - half), np.minimum(1.0, centre + half)


def discovery_rates(p: Numbers) -> Numbers:
    """q (m,) of p values (m,)."""
    from scipy.stats import false_discovery_control  # a second that those who want intervals need not wait

    q: Numbers = false_discovery_control(p) if len(p) else p
    return q
