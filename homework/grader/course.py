"""A course: what its secret seed fixes. Models, class pairs, and the numbers in written
questions."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from pathlib import Path

import numpy as np

from minadv import Adam, data, fit, models

PUBLIC = "public"


class Course:
    """The course of ``seed``: any text; "public" is the one that students have.

    ``models``: three MLPs 64-128-10 (float32) trained on the digits, read from ``courses/SEED.npz``
    where that file exists. ``x``, ``y``: the 360 test digits, flat.
    """

    def __init__(self, seed: str = PUBLIC, folder: Path | None = None):
        self.seed = str(seed)
        self.folder = folder or Path(__file__).parent.parent / "courses"

    def rng(self, label: str) -> np.random.Generator:
        """A generator that the seed and ``label`` fix."""
        digest = hashlib.sha256(f"{label}:{self.seed}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8]))

    @cached_property
    def digits(self):
        return data.digits()

    @cached_property
    def x(self) -> np.ndarray:
        return self.digits.x_test.reshape(-1, 64).astype(np.float64)

    @cached_property
    def y(self) -> np.ndarray:
        return self.digits.y_test.astype(np.int64)

    @property
    def path(self) -> Path:
        simple = re.fullmatch(r"[\w-]{1,40}", self.seed, re.ASCII)
        name = self.seed if simple else hashlib.sha256(self.seed.encode()).hexdigest()[:16]
        return self.folder / f"{name}.npz"

    @cached_property
    def models(self) -> list:
        """The three models, trained here unless ``path`` holds them."""
        nets = [models.mlp((64,), rng=self.rng(f"init {i}")) for i in range(3)]
        if self.path.is_file():
            with np.load(self.path, allow_pickle=False) as stored:
                for i, net in enumerate(nets):
                    net.parameters = {k: stored[f"{i}.{k}"] for k in net.parameters}
            return nets
        x = self.digits.x_train.reshape(-1, 64)
        for i, net in enumerate(nets):
            fit(net, x, self.digits.y_train, optimizer=Adam(0.001), epochs=10, batch_size=8,
                rng=self.rng(f"order {i}"), progress=False)  # fmt: skip
        return nets

    @property
    def digest(self) -> str:
        """Eight characters that tell one set of images and models from another."""
        digest = hashlib.sha256(self.x.tobytes())
        for model in self.models:
            for name in sorted(model.parameters):
                digest.update(np.ascontiguousarray(model.parameters[name]).tobytes())
        return digest.hexdigest()[:8]

    def save(self):
        """Write the models, so that nothing is trained where they are used for grading."""
        self.folder.mkdir(exist_ok=True)
        named = {f"{i}.{k}": v for i, m in enumerate(self.models) for k, v in m.parameters.items()}
        np.savez(self.path, **named)
