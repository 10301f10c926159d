"""The page, and the summary of a run; imports versions, curation, store and text."""
