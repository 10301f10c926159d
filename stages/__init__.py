"""One module per stage of the pipeline: ``python -m stages.<verb>``."""
