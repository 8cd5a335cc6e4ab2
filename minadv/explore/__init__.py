"""``python -m minadv explore``: draw a digit, attack it, and see what the model makes of it.

One page on loopback, made of the standard library's server and three files beside this one.
``attack.py`` runs one attack on one image, ``server.py`` decides whom it answers.
"""

from minadv.explore.server import serve

__all__ = ["serve"]
