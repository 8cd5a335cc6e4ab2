"""The attacks, one file per idea."""
