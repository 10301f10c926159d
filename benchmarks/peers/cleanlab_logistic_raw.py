"""The same on rows as they come: what one gets who does not think of their scale."""

from benchmarks.measured import main
from benchmarks.peers import cleanlab_logistic

if __name__ == "__main__":
    main(cleanlab_logistic.logistic(normalize=False))
