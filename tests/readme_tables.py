"""Print README.md with the committed tables in the places that its comments name. Run by `make readme`; a test compares."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = re.compile(r"(<!-- (figures/\S+\.md) -->\n).*?(<!-- end -->)", re.DOTALL)


def readme() -> str:
    """A place whose table no run has made yet is empty."""
    def filled(place: re.Match) -> str:
        table = ROOT / place[2]
        return place[1] + (table.read_text(encoding="utf-8") if table.is_file() else "") + place[3]

    return PLACE.sub(filled, (ROOT / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    print(readme(), end="")
