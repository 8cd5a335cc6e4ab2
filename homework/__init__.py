"""Seven homeworks on adversarial attacks, and the grader for them: ``python -m homework``."""
