"""A server that continues and scores texts for programs and people."""
