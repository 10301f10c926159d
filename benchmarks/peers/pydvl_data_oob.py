"""pyDVL's Data-OOB on a random forest of 200 trees."""

import numpy as np
from pydvl.valuation import DataOOBValuation, Dataset
from sklearn.ensemble import RandomForestClassifier

from benchmarks.measured import Work, main


def out_of_bag(trees: int = 200) -> Work:
    def work(x, y, seed):
        x = x.astype(np.float32)
        forest = RandomForestClassifier(trees, random_state=seed, n_jobs=1).fit(x, y)
        return {"suspicion": -DataOOBValuation(forest).fit(Dataset(x, y)).result.values}

    return work


if __name__ == "__main__":
    main(out_of_bag())
