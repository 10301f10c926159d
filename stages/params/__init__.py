"""One frozen model per section of params.yaml; the defaults live there, not here."""
