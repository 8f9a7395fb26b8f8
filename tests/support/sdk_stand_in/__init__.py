"""Imitations of what cannot be had in a test: a container base, the vendor's SDK, its server."""
