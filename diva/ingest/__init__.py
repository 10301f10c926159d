"""A delivery becomes a manifest: sources, archives, downloads, ready features; imports store, vision and text."""
