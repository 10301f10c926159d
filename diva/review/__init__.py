"""Decisions of people, and the server on this machine that takes them; imports versions, ingest, store and text."""
