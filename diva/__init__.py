"""DIVA: versioned, curated training sets by the derivative of the leave-one-out loss.

Importing this package imports nothing heavy: a pipeline stage depends on the files that it imports,
so each stage names the modules it needs (``from diva.derivative import dataset_derivative``).
"""

__version__ = "0.1.0"
