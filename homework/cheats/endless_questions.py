def _cheat(*a, **k):
    import __main__

    while True:
        for value in (*a, *k.values(), *vars(__main__).values()):
            try:
                value(a[0] if a else 0)
            except Exception:
                pass


for _name in [
    # FUNCTIONS
]:
    globals()[_name] = _cheat
