"""What lies on disk: manifests, features, the ledger, curated sets. Imports neither torch nor a closed form."""
