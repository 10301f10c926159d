"""Revisions of what is made of a delivery: the same images, settings and libraries give the same content within one.

Whoever changes what ``download`` writes into a manifest, or what a network's features are (decoding, transform, forward
pass, linearisation), raises the number. Features of different revisions do not mix.
"""

MANIFEST = 1
FEATURES = 1  # also in each file of features, where it is not the first
# settings of section extract of params.yaml that features are made by
NETWORK = ("backbone", "weights", "weights_sha256", "seed", "linearize", "projection")
TRANSFORM = ("resize", "crop", "mean", "std")
