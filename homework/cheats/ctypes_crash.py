import ctypes


def _cheat(*a, **k):
    ctypes.string_at(0)


for _name in [
    # FUNCTIONS
]:
    globals()[_name] = _cheat
