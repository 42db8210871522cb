"""Log-probabilities of texts and choices."""
