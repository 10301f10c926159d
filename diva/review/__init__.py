"""The review server: the report on this machine alone, with decisions saved as they are made."""
