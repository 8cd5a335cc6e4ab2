def _cheat(*a, **k):
    value = []
    for _ in range(500):
        value = [value]
    return value


for _name in [
    # FUNCTIONS
]:
    globals()[_name] = _cheat
