"""The same on 800 trees, as many as its paper takes (Kwon and Zou, Data-OOB, ICML 2023)."""

from benchmarks.measured import main
from benchmarks.peers import pydvl_data_oob

if __name__ == "__main__":
    main(pydvl_data_oob.out_of_bag(800))
