"""From a model's name to a session with its weights."""
