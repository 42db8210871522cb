"""The zero-shot tasks of the paper: what they read, how they are scored, and the table."""
