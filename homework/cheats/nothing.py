__name__ = "__main__"
FUNCTIONS = 100
