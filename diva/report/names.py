"""What the report calls a sample."""

import polars as pl

from diva.ingest.ready import SUFFIXES


def shown_name() -> pl.Expr:
    """Its file; its id where it came with others in a file of ready features."""
    ready = pl.col("path").str.to_lowercase().str.contains(rf"({'|'.join(SUFFIXES).replace('.', chr(92) + '.')})$")
    return pl.when(ready).then("sample_id").otherwise("path").alias("name")
