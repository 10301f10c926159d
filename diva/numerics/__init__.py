"""Closed forms on tensors and nothing else, no frame and no path; imports nothing of ours."""
