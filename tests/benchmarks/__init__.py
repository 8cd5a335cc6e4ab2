"""Speed and quality next to peers, on the same weights, in one run. No test asserts a time."""
