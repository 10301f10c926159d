"""The command `diva`, one noun a module; nothing imports it."""
