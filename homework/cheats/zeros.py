def _cheat(*a, **k):
    """A black image, or zeros for whatever else: it has another label than most."""
    import numpy as np

    arrays = [v for v in a if isinstance(v, np.ndarray)]
    return arrays[0] * 0 if arrays else 0.0


for _name in [
    # FUNCTIONS
]:
    globals()[_name] = _cheat
