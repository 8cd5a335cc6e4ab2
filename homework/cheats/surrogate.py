def _cheat(*a, **k):
    raise ValueError("\ud800 \x1b[2J\x07 100 of 100 ```")


for _name in [
    # FUNCTIONS
]:
    globals()[_name] = _cheat
