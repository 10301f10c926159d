"""Words, tables and progress for terminal and page, and text from outside made harmless; imports nothing of ours."""
