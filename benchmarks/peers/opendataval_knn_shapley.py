"""OpenDataVal's KNN-Shapley, ten neighbours; each fold of five validates the others: no clean set is used."""

import numpy as np
import torch
from opendataval.dataval import KNNShapley
from sklearn.model_selection import StratifiedKFold

from benchmarks.measured import main


def work(x, y, seed):
    x = torch.nn.functional.normalize(torch.from_numpy(x.astype(np.float32)))
    targets = torch.nn.functional.one_hot(torch.from_numpy(y)).float()
    total = np.zeros(len(y))
    for others, fold in StratifiedKFold(5, shuffle=True, random_state=seed).split(x, y):
        evaluator = KNNShapley(k_neighbors=10, batch_size=2048)
        evaluator.input_data(x[others], targets[others], x[fold], targets[fold])
        total[others] += evaluator.train_data_values().evaluate_data_values()
    return {"suspicion": -total}


if __name__ == "__main__":
    main(work)
