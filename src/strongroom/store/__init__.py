"""Adapters of the archive: sealed objects, key ring, SQL index."""
