def _cheat(*a, **k):
    raise GeneratorExit


for _name in [
    # FUNCTIONS
]:
    globals()[_name] = _cheat
