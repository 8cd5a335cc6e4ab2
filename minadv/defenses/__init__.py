"""The defences, one file per idea."""
