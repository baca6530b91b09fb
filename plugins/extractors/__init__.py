"""Feature extractors, and the classifiers that come with them."""
