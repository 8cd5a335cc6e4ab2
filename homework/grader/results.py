"""``results.json``, as Gradescope reads it: zeros first, then replaced whole after each check."""

from __future__ import annotations

import json
from pathlib import Path

from homework.grader.engine import Homework, Outcome
from homework.grader.feedback import lines_of
from minadv.files import write_whole

UNFINISHED = "The grader did not finish. The checks that were not reached have 0 points."


def write_results(
    path: Path,
    homework: Homework,
    outcomes: list[Outcome],
    *,
    done: bool,
    visible=False,
    seconds: float | None = None,
    challenge: float | None = None,
    **extra,
):
    """Write the outcomes; the score is the sum of the tests and of nothing else.

    ``visible``: show hidden checks at once, not only after the grades are published. ``seconds``:
    how long it took. ``challenge``: the number for the leaderboard. ``extra`` is kept as it is.
    With an internal error there is no score at all.
    """
    tests = [
        {
            "score": o.points,
            "max_score": o.most,
            "status": "passed" if o.status == "ok" else "failed",
            "name": o.check.says + (" (hidden)" if o.hidden else ""),
            "number": o.check.id,
            "output": "```\n"
            + "\n".join(lines_of(o.failure, homework, o)).replace("```", "'''")
            + "\n```"
            if o.failure
            else o.status,
            "visibility": "after_published" if o.hidden and not visible else "visible",
        }
        for o in outcomes
    ]
    result = {
        "score": sum(t["score"] for t in tests),
        "output": "" if done else UNFINISHED,
        "test_output_format": "md",
        "stdout_visibility": "hidden",
        "tests": tests,
        "extra_data": extra,
    }
    if seconds is not None:
        result["execution_time"] = round(seconds, 1)
    if challenge is not None and homework.challenge is not None:
        board = {"name": homework.challenge.name, "order": homework.challenge.order}
        result["leaderboard"] = [board | {"value": round(challenge, 6)}]
    if any(o.status == "internal error" for o in outcomes):
        del result["score"]
        result["output"] = (
            "The grader failed. This is no fault of the submission: tell your teacher."
        )
    write_whole(path, json.dumps(result, indent=1).encode())
