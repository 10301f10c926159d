"""What the ``diva`` command does, one noun a module; only ``diva.cli`` imports it."""
