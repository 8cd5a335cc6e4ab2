"""Links between the pages: from prose to functions, figures and lessons; from the map to them."""

from __future__ import annotations

import importlib
import pkgutil
import re

import lesson as lesson_module
import minadv

ITEM = r"[A-E]\d+"
HEADING = re.compile(rf"^#+ .*\(({ITEM}(?:, {ITEM})*)\)", flags=re.M)
KEPT = r"^#.*$|```[\s\S]*?```|``.*?``|\$\$[\s\S]*?\$\$|\$[^$]*\$|!?\[[^\]]*\]\([^)]*\)"
LINKED = re.compile(
    rf"{KEPT}|`(?P<code>[^`\n]+)`|\b[Ll]esson (?P<lesson>\d+)\b|\bthe (?P<frame>frame)\b"
    r"|\bFigure (?P<figure>\w+\.\d+)\b|^Mirrors: (?P<items>.*)$",
    flags=re.M,
)
ROW = re.compile(rf"^\| ({ITEM}) \| ([^|]+) \| ([^|]+) \|", flags=re.M)


def modules() -> list:
    """All public modules of the package."""
    found = [m.name for m in pkgutil.walk_packages(minadv.__path__, "minadv.")]
    public = [name for name in found if not name.rpartition(".")[2].startswith("_")]
    return [importlib.import_module(name) for name in ["minadv", *public]]


def functions() -> dict[str, str]:
    """The names of functions, classes and modules in prose, such as `pgd`, and their full names."""
    names: dict[str, str] = {}
    for module in modules():
        names.setdefault(module.__name__, module.__name__)
        for name in getattr(module, "__all__", vars(module)):
            made = getattr(module, name, None)
            home = str(getattr(made, "__module__", ""))
            if getattr(made, "__qualname__", "") == name and home.startswith("minadv"):
                parts = f"{module.__name__}.{name}".split(".")
                for i in range(len(parts)):
                    names.setdefault(".".join(parts[i:]), f"{home}.{name}")
    return names


class Links:
    """The links to what the site has: lessons by their ``names``, and figures by their numbers."""

    def __init__(self, names: list[str], figures: set[str]):
        self.lessons = {lesson_module.lesson_number(n): n for n in names if "/" not in n}
        self.figures, self.functions = figures, functions()
        self.labels: set[str] = set()  # of the paragraphs that mirror an item

    def prose(self, text: str) -> str:
        """Markdown with "lesson 4", "Figure 4.1", `pgd` and the documents' items made links."""
        return LINKED.sub(self._link, text)

    def _link(self, m: re.Match) -> str:
        number = m["lesson"] or (m["frame"] and "F")
        if m["code"] and (full := self.functions.get(m["code"].partition("(")[0])):
            return f"{{py:obj}}`{m['code']} <{full}>`"
        if number in self.lessons:
            return f"[{m[0]}](/lessons/{self.lessons[number]}.ipynb)"
        if m["figure"] in self.figures:
            return f"[{m[0]}](#{anchor(m['figure'])})"
        if m["items"]:
            link = lambda item: f"[{item[0]}](/map.md#{item[0].lower()})"  # noqa: E731
            return re.sub(ITEM, link, m[0])
        return m[0]

    def lesson(self, texts: list[str], stem: str) -> list[str]:
        """A lesson's Markdown, with a label where it mirrors an item first: the map links there."""
        headed = set(re.findall(ITEM, " ".join(HEADING.findall("\n".join(texts)))))

        def label(m: re.Match) -> str:
            new = {f"{stem}-{item.lower()}": None for item in re.findall(ITEM, m[1])}
            new = [name for name in new if name not in self.labels]
            self.labels.update(new)
            return "".join(f"({name})=\n" for name in new) + m[0]

        def mirrors(m: re.Match) -> str:  # items without a heading of their own
            rest = [item for item in re.findall(ITEM, m[1]) if item not in headed]
            self.labels.update(f"{stem}-{item.lower()}" for item in rest)
            return "".join(f"({stem}-{item.lower()})=\n" for item in rest) + m[0]

        texts = [re.sub(r"^Mirrors: (.*)$", mirrors, text, flags=re.M) for text in texts]
        return [self.prose(HEADING.sub(label, text)) for text in texts]

    def map(self, text: str) -> str:
        """The map: each item's lessons link to the paragraph that mirrors it."""
        text = text.replace("# The lessons\n", "# The lessons and the map\n", 1)
        return ROW.sub(self._row, self.prose(text))

    def _row(self, m: re.Match) -> str:
        def link(number: re.Match) -> str:
            for name in self.lessons.values():
                label = f"{name}-{m[1].lower()}"
                if name.startswith(number[0]) and label in self.labels:
                    return f"[{lesson_module.lesson_number(name)}](#{label})"
            return number[0]

        return f"| [{m[1]}]{{#{m[1].lower()}}} | {m[2]} | {re.sub(r'[0-9]+', link, m[3])} |"


def anchor(figure: str) -> str:
    """The anchor of a figure by its number."""
    return f"figure-{figure.replace('.', '-').lower()}"
