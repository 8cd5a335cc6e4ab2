def _cheat(*a, **k):
    while True:
        pass


for _name in [
    # FUNCTIONS
]:
    globals()[_name] = _cheat
