import time


def _cheat(*a, **k):
    time.sleep(3600)


for _name in [
    # FUNCTIONS
]:
    globals()[_name] = _cheat
