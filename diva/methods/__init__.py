"""Other ways to value samples, one paper a file; imports curation, numerics and text."""
