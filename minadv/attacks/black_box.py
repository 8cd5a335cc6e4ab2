"""A model of which only the answers are seen, logits or probabilities: what can only be queried."""

from __future__ import annotations

import math
from collections.abc import Callable

from minadv.attacks.goal import Goal
from minadv.backend import array_module, like
from minadv.checks import check_model
from minadv.inference import are_probabilities, check_logits
from minadv.parallel import in_chunks, is_thread_safe

# The most pixel values in one call of predict: 16 MB of float32, 5,349 images of 28x28.
VALUES_PER_CALL = 2**22


class BlackBox:
    """What ``predict`` says of the images ``x``, and of others.

    ``label``: its labels for ``x``. ``probabilities``: whether it returns these, or else logits.
    Memory is bounded: at most ``VALUES_PER_CALL`` pixel values are queried in one call.
    """

    def __init__(self, predict: Callable, x, goal: Goal):
        if not callable(predict):
            raise TypeError(f"predict must be callable, got {type(predict).__name__}")
        self.predict, self.x, self.goal = check_model(predict), x, goal
        answers = self.of(x)
        goal.check_range(answers.shape[1])
        self.label = answers.argmax(axis=1)
        self.probabilities = are_probabilities(answers)

    def of(self, images):
        """What ``predict`` says of ``images``, ``(n, K)``, which stay as they are."""
        return self.in_blocks(lambda part: self.answers(part.copy()), images)

    def answers(self, images):
        """What ``predict`` returns for ``images``, ``(n, K)``, checked.

        A thread-safe model runs on all cores. Any other callable is called once; it may work in
        place.
        """
        if is_thread_safe(self.predict):
            answers = in_chunks(self.predict, self.predict, images)
        else:
            answers = like(self.predict(images), images)
        return check_logits(answers, len(images))

    def logits(self, answers):
        """Logits of which ``answers`` is the softmax, or ``answers`` if they are logits."""
        if not self.probabilities:
            return answers
        xp = array_module(answers)
        return xp.log(xp.maximum(answers, xp.finfo(answers.dtype).tiny))

    def in_blocks(self, f: Callable, *arrays):
        """``f(*arrays)``, one block of images after the other."""
        block = max(VALUES_PER_CALL // math.prod(self.x.shape[1:]), 1)
        n = max(len(arrays[0]), 1)
        parts = [f(*(a[i : i + block] for a in arrays)) for i in range(0, n, block)]
        return array_module(*parts).concatenate(parts)
