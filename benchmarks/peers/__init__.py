"""What practitioners use today, each in an environment of its own that `make peers` builds; never a dependency."""
