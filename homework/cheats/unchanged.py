def _cheat(*a, **k):
    """What was given, as it was given."""
    return a[0] if len(a) == 1 or not callable(a[0]) else a[1]


for _name in [
    # FUNCTIONS
]:
    globals()[_name] = _cheat
