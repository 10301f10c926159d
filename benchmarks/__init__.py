"""One script per question: ``python -m benchmarks.<name>``."""
