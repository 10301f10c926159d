"""Curated training sets by the dataset derivative; see README.md in this folder for the derivation.

Empty on purpose: importing one part of it must not cost another's seconds.
"""
