"""The judge (engine, feedback, results) and the child process that it keeps apart (worker)."""
