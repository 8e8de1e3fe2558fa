from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hwnas.report.model import read_run
from hwnas.report.page import render, write_report

WriteRun = Callable[..., Path]
VOID = {"meta"}
SECTIONS = [
    "accuracy",
    "answer",
    "network",
    "search",
    "finalists",
    "baselines",
    "prediction",
    "space",
    "time",
    "cost",
    "measuring",
    "practices",
    "configuration",
]
HOSTILE = "<script>alert(1)</script>\"'&</style><img src=x onerror=y>$\\frac$]]>\x00"


class Page(html.parser.HTMLParser):
    """Parses a page; fails where tags are not balanced; keeps its text by section."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.attrs: list[tuple[str, str]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attrs += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script", "svg"} & set(self.open):
            self.text += data
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def page_of(run: Path) -> str:
    return render(read_run(run))[0]


@pytest.fixture(scope="module")
def whole_page(whole_run: Path) -> str:
    return page_of(whole_run)


def test_the_page_is_balanced_and_has_every_section_once(whole_page: str) -> None:
    page = Page(whole_page)
    assert [name for name in page.ids if name in SECTIONS] == SECTIONS
    assert len(page.ids) == len(set(page.ids))
    links = [value[1:] for name, value in page.attrs if name == "href" and value[0] == "#"]
    assert links[: len(SECTIONS) + 1] == ["accuracy", *SECTIONS]  # to skip, then the navigation


def test_the_page_needs_no_other_file(whole_page: str) -> None:
    outside = re.sub(r'xmlns(:\w+)?="[^"]*"', "", whole_page)
    assert "http:" not in outside
    assert "https:" not in outside
    page = Page(whole_page)
    assert not page.tags & {"link", "img", "iframe", "object"}
    assert not [name for name, _ in page.attrs if name in ("src", "srcset", "action")]
    assert not re.search(r"url\((?!#)|@import", whole_page)


def test_the_policy_of_the_page_allows_its_own_script_alone(whole_page: str) -> None:
    page = Page(whole_page)
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [value for name, value in page.attrs if name == "content" and "default" in value]
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}'" in policy
    for word in ("innerHTML", "eval", "fetch", "XMLHttp", "document.write"):
        assert word not in script


def test_the_main_figure_comes_first_and_its_points_lead_to_rows(whole_page: str) -> None:
    page = Page(whole_page)
    assert whole_page.index("<figure>") < whole_page.index('id="answer"')
    targets = [value for name, value in page.attrs if name == "href" and value.startswith("#")]
    assert {target[1:] for target in targets} <= set(page.ids)
    assert sum(target.startswith("#evaluation-") for target in targets) == 2 * 60  # in both forms
    assert sum(name == "data-tip" for name, _ in page.attrs) == 2 * (60 + 4 + 3 + 1)


def test_every_figure_of_the_page_as_it_was_is_still_on_it(whole_page: str) -> None:
    """``figures_before.txt`` has the figures that the page of this run showed before Jinja."""
    before = (Path(__file__).parent / "figures_before.txt").read_text().splitlines()
    text = " ".join(Page(whole_page).text.split())
    assert len(before) > 100
    assert [figure for figure in before if figure not in text] == []


def test_the_page_has_the_facts_of_the_run(whole_run: Path, whole_page: str) -> None:
    facts = read_run(whole_run)
    text = Page(whole_page).text.replace("\u00a0", " ")
    winner = facts.winner
    assert winner is not None
    assert winner.measured_ms is not None
    for said in (
        f"{winner.measured_ms:.2f} ms",
        "tiny on host",
        "runtime litert 2.1.0",
        "91.2 %",
        "95 % interval 87.9 % to 93.8 %, 360 images",
        "1.3e-06",
        "MobileNetV2 x0.35",
        "line through MACs",
        "0.944",
        "1.87 %",
        "11 min 56 s",
        "resumed once",
        "+1.3 % on the anchors",
        "frequency_mhz.cpu0",
        "p25 of round medians",
        "strategy: evolution",
        "ai-edge-litert",
        "Were ablations run?",
        "1,024",
        "690",
    ):
        assert said in text, said
    for finalist in facts.finalists.answers[0].finalists if facts.finalists else ():
        assert finalist.arch_id in text
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b", text)


def test_the_report_is_written_whole_with_its_drawings(whole_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    before = set(run.rglob("*"))
    assert write_report(run) == run / "report.html"
    assert (run / "report.html").read_text() == page_of(run)
    drawings = {path.stem: path.read_text() for path in (run / "figures").glob("*.svg")}
    assert set(drawings) == {
        "accuracy-latency",
        "network",
        "predicted-measured",
        "space-distribution",
        "time-per-operation",
    }
    for svg in drawings.values():
        assert ET.fromstring(svg).get("width")
        assert "var(" not in svg
    assert set(run.rglob("*")) - before == {
        run / "report.html",
        run / "figures",
        *(run / "figures").glob("*.svg"),
    }


def test_every_drawing_in_the_page_is_well_formed_xml(whole_page: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", whole_page, flags=re.DOTALL)
    # four in two forms; the winner and four finalists as networks, in one
    assert len(drawings) == 2 * 4 + 1 + 4
    for svg in drawings:
        ET.fromstring(svg)


@pytest.mark.parametrize(
    ("until", "present", "commands"),
    [
        (
            "profile",
            {"predicted-measured"},
            {
                "journal.jsonl": "hwnas search --resume --out {run}",
                "finalists.json": "hwnas search",
                "winner.json": "hwnas bench {run}",
                "config.yaml": "hwnas search",
                "env.json": "hwnas search",
                "result.json, audit": "hwnas search",
            },
        ),
        (
            "search",
            {"predicted-measured", "accuracy-latency", "space-distribution"},
            {
                "retrained.json": "hwnas retrain --run {run}",
                "winner.json": "hwnas bench {run}",
                "bench/": "hwnas bench {run}",
            },
        ),
        (
            "export",
            {"predicted-measured", "accuracy-latency", "space-distribution"},
            {"winner.json": "hwnas bench {run}"},
        ),
    ],
)
def test_a_run_that_stopped_early_says_which_command_comes_next(
    until: str, present: set[str], commands: dict[str, str], write_run: WriteRun, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", until=until)
    html_text, drawings = render(read_run(run))
    assert {drawing.name for drawing in drawings} == present
    text = Page(html_text).text
    for file, command in commands.items():
        assert f"{file} is not in this run folder yet. Next: {command.format(run=run)}" in text
    assert "Not answered yet" in text


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("table.json", "hwnas profile --device host --runtime litert --space tiny --out"),
        ("export/", "hwnas export --run"),
        ("front.json", "hwnas search --resume"),
    ],
)
def test_a_lost_file_of_a_finished_run_is_named(
    file: str, command: str, whole_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    shutil.rmtree(run / file) if file.endswith("/") else (run / file).unlink()
    text = Page(page_of(run)).text
    assert re.search(rf"{file}\S* is not in this run folder yet\. Next: {command}", text)


def poisoned(value: object, keep: tuple[str, ...]) -> object:
    """Return plain data with a hostile text in place of every other one."""
    if isinstance(value, dict):
        return {key: item if key in keep else poisoned(item, keep) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, keep) for item in value]
    return HOSTILE if isinstance(value, str) else value


def test_hostile_texts_of_every_file_stay_texts(whole_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    keep = ("op", "layers", "entries", "attrs", "event", "unit", "direction", "role")
    keep += ("arch_id", "network_id", "content_id", "kind", "file", "source")  # are checked
    for path in run.rglob("*.json"):
        path.write_text(json.dumps(poisoned(json.loads(path.read_text()), keep)))
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    (run / "journal.jsonl").write_text(
        "".join(json.dumps(poisoned(line, keep)) + "\n" for line in lines)
    )
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(poisoned(config, keep)))
    html_text, drawings = render(read_run(run))
    page = Page(html_text)
    assert not page.tags & {"img"}
    assert len(page.scripts) == 1
    assert "alert" not in page.scripts[0]
    assert not any(name.startswith("on") for name, _ in page.attrs)
    assert "<script>alert(1)</script>" in page.text
    assert "\x00" not in html_text
    assert len(drawings) == 5
    for drawing in drawings:
        assert not list(ET.fromstring(drawing.svg).iter("{http://www.w3.org/2000/svg}script"))


def test_numbers_that_are_not_finite_never_reach_the_page(whole_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    for name, keys in (
        ("winner.json", ("predicted_ms", "val_top1", "macs")),
        ("result.json", ("audit",)),
        ("env.json", ("cores",)),
    ):
        value = json.loads((run / name).read_text())
        value.update({key: float("nan") for key in keys})
        (run / name).write_text(json.dumps(value))
    (run / "config.yaml").write_text("space: tiny\nbudget_ms: .nan\n")
    text = Page(page_of(run)).text.replace("budget_ms: .nan", "")  # the file itself, quoted
    assert not re.search(r"\bnan\b", text, flags=re.IGNORECASE)
