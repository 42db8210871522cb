"""Several processes and machines: those that train together, and those that work independently."""
