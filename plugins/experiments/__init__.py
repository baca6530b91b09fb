"""Experiments that come with ganbench: small studies of the literature, carried out on any variant."""
