"""A lesson run cell by cell, and what is made of the run: text, notebook, page of the site."""
