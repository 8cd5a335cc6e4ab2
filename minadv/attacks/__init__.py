"""The attacks, one file per idea; the functions themselves are names of :mod:`minadv`."""
