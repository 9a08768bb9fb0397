"""Write docs/advice.md from the table of rules: python docs/make_advice_page.py"""

from pathlib import Path

from dltrain.report.advice import RULES

HEAD = """# Advice

At the end of `fit`, in the live view and in every report, dltrain says what it has reason to say. Each rule compares a
number from `metrics.jsonl`, `layers.jsonl` or `played.json` with a limit. Where the source names no number, the limit
is ours, set so that the shipped configs stay well clear of it. The rules are functions in `dltrain/report/faults.py`
and `games.py`; this page is generated from them.

| rule | limit | what is compared with it | what to do | source |
|---|---|---|---|---|
"""


def advice_page() -> str:
    rows = (f"| `{r.name}` | {r.limit:g} | {r.measures} | {r.remedy} | {r.source} |\n" for r in RULES.values())
    return HEAD + "".join(rows)


if __name__ == "__main__":
    (Path(__file__).parent / "advice.md").write_text(advice_page(), encoding="utf-8")
