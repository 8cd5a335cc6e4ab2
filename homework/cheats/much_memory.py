import numpy as np


def _cheat(*a, **k):
    return np.ones(1 << 27)


for _name in [
    # FUNCTIONS
]:
    globals()[_name] = _cheat
