"""The report as one HTML page: headings, tables with row headers, states in words, no scripts."""

from __future__ import annotations

from html import escape

from homework.grader.engine import Homework, Outcome
from homework.grader.feedback import details

STATES = {
    "ok": "passed",
    "failed": "not passed",
    "not written": "not written yet",
    "not run": "not run",
    "internal error": "not graded",
}
# Black on white and white on near-black: contrast above 15; grays are borders only.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem;
  color: #111; background: #fff; }}
table {{ border-collapse: collapse; width: 100%; }}
caption, th, td {{ text-align: left; padding: .25rem .75rem .25rem 0; vertical-align: top; }}
th, td {{ border-bottom: 1px solid #888; }}
td.points {{ text-align: right; white-space: nowrap; }}
pre {{ overflow-x: auto; padding: .5rem; border: 1px solid #888; }}
@media (prefers-color-scheme: dark) {{ body {{ color: #eee; background: #111; }} }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{summary}</p>
{parts}
</main>
</body>
</html>
"""


def html(homework: Homework, outcomes: list[Outcome], name: str) -> str:
    """The page of the student ``name``: a table for each part, and what each failure says."""
    got, most = sum(o.points for o in outcomes), sum(o.most for o in outcomes)
    failed = sum(o.status == "failed" for o in outcomes)
    summary = f"{got} of {most} points. {failed} of {len(outcomes)} checks did not pass."
    parts = [
        _part(homework, part, title, [o for o in outcomes if o.check.id[0] == part])
        for part, title in homework.parts.items()
    ]
    title = escape(f"{homework.title}: report for {name}")
    return PAGE.format(title=title, summary=summary, parts="\n".join(parts))


def message(why: str, name: str) -> str:
    """The page of a student whose submission could not be graded."""
    title = escape(f"Report for {name}")
    return PAGE.format(title=title, summary=escape(why), parts="")


def _part(homework: Homework, part: str, title: str, outcomes: list[Outcome]) -> str:
    if not outcomes:
        return ""
    score = f"{sum(o.points for o in outcomes)} of {sum(o.most for o in outcomes)} points"
    lines = [f"<h2>{part}. {escape(title)}</h2>", "<table>", f"<caption>{score}</caption>"]
    heads = ("check", "what must hold", "data", "state", "points")
    lines.append("<tr>" + "".join(f'<th scope="col">{h}</th>' for h in heads) + "</tr>")
    for o in outcomes:
        cells = [escape(o.check.says), "hidden" if o.hidden else "public", STATES[o.status]]
        row = f'<tr><th scope="row">{o.check.id}</th>' + "".join(f"<td>{c}</td>" for c in cells)
        lines.append(f'{row}<td class="points">{o.points} of {o.most}</td></tr>')
    lines.append("</table>")
    for o in outcomes:
        if told := details(homework, o):
            data = ", hidden data" if o.hidden else ""
            text = escape("\n".join(told))
            lines.append(f'<h3>{o.check.id}{data}</h3>\n<pre tabindex="0">{text}</pre>')
    return "\n".join(lines)
