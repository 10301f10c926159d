"""Ways in which others lay out data sets, one a module."""
