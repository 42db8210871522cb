"""8-grams of texts: how many of one text's are in another (Radford et al. 2019, section 4)."""
