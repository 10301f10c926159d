"""cleanlab's Datalab on features alone: label issues by nearest neighbours, nothing tuned."""

import numpy as np
from cleanlab import Datalab

from benchmarks.measured import main


def work(x, y, seed):  # noqa: ARG001  # there is no chance in it
    lab = Datalab(data={"y": y}, label_name="y", verbosity=0)
    lab.find_issues(features=x.astype(np.float32), issue_types={"label": {}})
    issues = lab.get_issues("label")
    return {"suspicion": 1 - issues["label_score"].to_numpy(), "flagged": issues["is_label_issue"].to_numpy()}


if __name__ == "__main__":
    main(work)
