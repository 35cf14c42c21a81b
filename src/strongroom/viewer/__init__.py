"""OHIF, which people look at images with: which version, what of it is kept, and what is changed in it.

It is no part of the package: it is fetched when an archive is set up, or comes as a file. What may be served of it is
known beforehand, byte for byte (``files.tsv``), so that the directory that holds it is trusted with nothing.
"""
