"""Executors that come with ganbench."""
