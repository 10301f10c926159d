"""Files on disk, typed, and how they are read and written; imports text, and of numerics the types of rows only."""
