"""Where a sweep keeps its arrays and its results: in a folder, or in memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from minadv.evaluation import parcels
from minadv.evaluation.tasks import are_numbers
from minadv.files import write_whole


class Shelf:
    """Arrays by the digest of their content, and results by the digest of their task.

    Several sweeps may use one folder at the same time: what they write under one name is the same.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.arrays: dict[str, np.ndarray] = {}  # without a folder

    def add(self, arrays: dict[str, np.ndarray]) -> None:
        """Put arrays where workers find them."""
        if self.folder is None:
            self.arrays |= arrays
        else:
            parcels.store(arrays, self.folder)

    def array(self, key: str) -> np.ndarray:
        """The array of this digest, for a worker that asks."""
        array = parcels.find(key, self.folder)
        if array is None:
            raise RuntimeError(f"folder {self.folder} has lost the array {key}")
        return array

    def result(self, key: str, images: int) -> dict | None:
        """The result of the task of this digest, if it is there and whole."""
        try:
            found = json.loads(self._path(key).read_bytes()) if self.folder else None
        except (OSError, ValueError, RecursionError):
            return None
        if isinstance(found, dict) and found.get("task") == key:
            numbers = found.get("numbers")
            return numbers if are_numbers(numbers, images) else None
        return None

    def keep(self, key: str, numbers: dict) -> None:
        """Write a result, whole or not at all."""
        if self.folder is not None:
            text = json.dumps({"task": key, "numbers": numbers}, allow_nan=False)
            write_whole(self._path(key), text.encode())

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / "results" / key[:2] / f"{key}.json"  # few files in one folder
