"""Wrong experiments planted in the lessons: a lesson's asserts must notice each of them.

``python -m tests.planted [LESSON ...]`` runs them on the small digits and prints which were
noticed. One file per lesson, ``NN.toml`` (``NN_name.toml`` where two share a number), holds a list
of ``[[planted]]`` with ``what`` (in words), ``before`` and ``after`` (the lesson's text, found
exactly once, and what replaces it), and where needed ``data``, the images to run it on.
"""
