"""Speed and quality next to peers, on the same weights, in the same run: ``python -m tests.benchmarks``. No test asserts a time."""
