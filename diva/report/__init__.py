"""The curation report: one HTML page that carries everything it shows and asks nothing of the network."""
