"""Git and DVC: versions, what they hold, how they differ, whether they are whole; imports ingest, store and text."""
