"""Which text did a model write: the output dataset, detectors, and how well they tell."""
