import numpy as np


def _cheat(*a, **k):
    return np.full((1, 1), np.nan), np.full((1, 1), np.inf)


for _name in [
    # FUNCTIONS
]:
    globals()[_name] = _cheat
