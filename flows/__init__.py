"""Prefect flows: when the pipeline runs and with what, never how."""
