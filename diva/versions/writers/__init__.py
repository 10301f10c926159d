"""Releases in the formats of others, one a module: rows and the bytes of their images in, files out."""
