"""The report: what its chapters make of tables, and the site and the PDF as readers have them."""

import ast
import base64
import dataclasses
import html
import io
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import docutils.core
import docutils.utils
import nbformat
import numpy as np
import pandas as pd
import pypdfium2
import pytest
from docutils.parsers.rst import roles
from markdown_it import MarkdownIt
from PIL import Image
from sphinx.ext.napoleon import Config, NumpyDocstring

from lib import REPOSITORY
from lib.errors import OutputError, StageError
from lib.report import captions
from lib.report.tables import save_table
from lib.report.verdicts import COLUMNS
from lib.site import api, build, chapters, gathered, paper, reproduction, tables, whole
from lib.site.blocks import Chapter, Picture, Prose, Table, numbered, plain
from lib.study.config import load_study
from lib.workflow.stages import stages
from lib.workflow.supplement import supplement
from tests.browser import Watched, chromium

PHONE = 400  # pixels


def claim(**changes) -> dict:
    return dict.fromkeys(COLUMNS, np.nan) | {"claim": "a is better than b", "question": "RQ2", "verdict": "undecided",
                                             "leaning": "undecided", "unit": "SSIM"} | changes


@pytest.mark.parametrize("text", ["λ* of block5_conv4 | <b>x</b> & $a$ [l](m) `c` ~d^e~ #1 {f} !g @h \\", "* a",
                                  "a _b_ **c**"])
def test_plain_text_means_itself_in_markdown(text):
    assert html.unescape(MarkdownIt("commonmark").renderInline(plain(text))) == text


def test_a_table_comes_back_as_it_was_saved(tmp_path):
    shown = pd.DataFrame({"A_1|2": ["x | y*", "<b>"], "B": [np.nan, np.inf], "λ*": [1.5, 2e-7]})
    labels = SimpleNamespace(provenance="smoke | ImageNet* = <x>", figures=tmp_path)
    save_table(labels, shown, "mine", "A title with λ* and a|b, <c>", shown)
    table = tables.read_table(tmp_path / "mine.md")
    assert table == Table("mine", "A title with λ* and a|b, <c>", ("A_1|2", "B", "λ*"),
                          (("x | y*", "–", "1.5"), ("<b>", "∞", "2e-7")), "smoke | ImageNet* = <x>")
    (tmp_path / "no.md").write_text("nothing")
    with pytest.raises(ValueError, match=r"no\.md: expected a title"):
        tables.read_table(tmp_path / "no.md")


def test_a_table_in_html_escapes_scrolls_and_names_its_verdicts():
    table = Table("t", 'of "x" & <y>', ("Claim", "Verdict"), (("<script>", "falls"), ("b" * 40, "undecided")), "made here")
    text = tables.as_html(table)
    assert "<script>" not in text and "&lt;script&gt;" in text and "\n\n" not in text
    assert 'role="region" tabindex="0" aria-label="of &quot;x&quot; &amp; &lt;y&gt;"' in text
    assert '<span class="verdict falls">falls</span>' in text and '<span class="verdict undecided">undecided</span>' in text
    assert text.count('class="long"') == 2 and text.count('scope="col"') == 2


def test_claims_become_rows_and_what_is_alike_goes_to_the_title():
    same = {"patients": 8, "seeds": 3}
    table = tables.claims_table(pd.DataFrame([
        claim(estimate=-0.0024, low=-0.0054, high=0.0005, leaning="falls", paper=0.007, p_patients=0.0078, **same),
        claim(claim="λ*", unit="λ*", estimate=4.14e-7, low=4.08e-7, high=4.19e-7, verdict="falls", leaning="falls",
              note="a, b", **same)]), "mine", "Claims")
    assert table.columns == ("Claim", "Verdict", "This run [95 %]", "Paper", "Unit", "Note")
    assert table.title == "Claims; each rests on 8 patients and 3 seeds"
    assert table.rows[0] == ("a is better than b", "undecided", "−0.0024 [−0.0054, +0.0005]", "+0.0070", "SSIM",
                             "the estimate by itself: falls; sign-flip p 0.0078")
    assert table.rows[1][1:] == ("falls", "4.14e-7 [4.08e-7, 4.19e-7]", "–", "λ*", "a, b")


def test_a_claim_without_numbers_says_so():
    table = tables.claims_table(pd.DataFrame([claim(note="not among the experiments: E3")]), "mine", "Claims")
    assert table.columns == ("Claim", "Verdict", "This run [95 %]", "Unit", "Note")
    assert table.rows == (("a is better than b", "undecided", "–", "SSIM", "not among the experiments: E3"),)
    assert tables.claims_table(pd.DataFrame(columns=COLUMNS), "mine", "None").rows == ()
    with pytest.raises(ValueError, match="no column estimate"):
        tables.claims_table(pd.DataFrame([claim()]).drop(columns="estimate"), "mine", "Claims")


def test_what_is_said_beside_the_claims_is_found():
    text = ("# What\n\n**RQ1**, how: 1 stands; 3 seeds.\n\n- a: **stands**; 1.\n- b: **falls** (x); 2.\n- λ* moves.\n\n"
            "note\n\n**reader**, what else: none.\n")
    found = gathered.answers(text, 2)
    assert found == {"RQ1": gathered.Answer("how: 1 stands; 3 seeds.", ("λ* moves.",)),
                     "reader": gathered.Answer("what else: none.", ())}
    with pytest.raises(ValueError, match="2 questions, expected 3"):
        gathered.answers(text, 3)


def test_numbers_are_the_papers_where_it_has_them():
    def of(name, *names, printed=True):
        return Chapter(name, name, tuple(Table(each, f"Table 9. {each}", ("a",), ()) if each.startswith("t") else Picture(
            each, Path(each), "Figure 8. x", "y") for each in names), printed)

    made = numbered([of("rq1", "fig2", "table3", "t_a", "fig_x"), of("claims", "t_c", printed=False),
                     of("rq2", "t_b", "fig1"), of("supplement/S2", "t_d", "supplement/rules", "t_e")])
    assert [block.label for each in made for block in each.blocks] == [
        "Figure 2", "Table 3", "Table 5", "Figure 4", "", "Table 6", "Figure 1", "Table S2.1", "Figure S2.1", "Table S2.2"]
    assert made[0].blocks[1].title == "table3"


def test_a_wide_table_is_printed_in_parts_that_fit():
    table = Table("t", "x", tuple(f"column {place}" for place in range(23)), (tuple(["0.944 (0.043)"] * 23),))
    parts = paper.split_columns(table)
    assert len(parts) > 1 and all(part[0] == 0 for part in parts)
    assert [place for part in parts for place in part[1:]] == list(range(1, 23))
    assert all(len(part) * (len("0.944 (0.043)") + paper.SPACE) <= paper.ACROSS for part in parts)
    assert min(map(len, parts)) > 3  # not seven columns, seven, seven, and one that was left
    assert paper.split_columns(Table("t", "x", ("a", "b"), (("c" * 500, "d" * 500),))) == [[0, 1]]
    rows = tuple(("E1", state, *["0.944 (0.043)"] * 9) for state in ("untrained", "pilot"))
    assert [part[:2] for part in paper.split_columns(Table("t", "x", tuple("abcdefghijk"), rows))] == [[0, 1]] * 2


def test_times_in_words():
    assert [reproduction.duration(each) for each in (3.21, 59.97, 245, 7625)] == [
        "3.2 s", "1 min 00 s", "4 min 05 s", "2 h 07 min"]


def docstrings(path: Path) -> list[str]:
    return [text for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(
        node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node))]


def test_docstrings_are_pages_without_a_warning():
    """Of every module that the interface shows: as Sphinx reads them, without importing anything."""
    for name in ("func", "class", "mod", "meth", "data", "attr"):
        roles.register_generic_role(name, docutils.nodes.literal)
    settings = Config(**{name: value for name, value in build.configuration("", "", "").items()
                         if name.startswith("napoleon")})
    names, read = api.modules(list(api.ROOMS)), 0
    for name in names:
        path = REPOSITORY / Path(*name.split("."))
        for text in docstrings(path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"):
            prepared = str(NumpyDocstring(api.docstring_as_text(text), settings, what="function"))
            prepared = re.sub(r"^:(ivar|vartype) \w+:", r":\1:", prepared, flags=re.MULTILINE)  # Sphinx's own fields
            stream = io.StringIO()
            docutils.core.publish_doctree(prepared, settings_overrides={"warning_stream": stream, "report_level": 2})
            assert not stream.getvalue(), f"{name}: {stream.getvalue()}\n{text}"
            read += 1
    assert len(names) > 80 and read > 400


def test_docstrings_keep_emphasis_and_literals_alone():
    assert api.docstring_as_text("|g_a| of λ*, *one* of ``a|b*c`` and :func:`x`") == (
        r"\|g_a\| of λ\*, *one* of ``a|b*c`` and :func:`x`")
    assert api.docstring_as_text("* one\n  * two * 3") == "* one\n  * two \\* 3"
    assert api.docstring_as_text("Raises\n---\nValueError : no such") == "Raises\n---\nValueError\n    no such"


def test_every_figure_has_a_caption_and_every_output_a_place(study):
    """What the stages write is in a chapter; figures have alternative texts of their own."""
    outputs = {path for wave in supplement(study) for stage in wave for path in stage.outputs if path.is_relative_to(
        study.paths.figures)}
    pictures = {str(path.relative_to(study.paths.figures).with_suffix("")) for path in outputs if path.suffix == ".png"}
    written = {str(path.relative_to(study.paths.figures).with_suffix("")) for path in outputs if path.suffix == ".md"}
    assert len(pictures) > 10 and pictures <= set(captions.FIGURES)
    alts = [each.alt for each in captions.FIGURES.values()]
    assert len(set(alts)) == len(alts) and min(map(len, alts)) > 40
    shown = [*chapters.SHOWN.values(), *((tuple(f"supplement/{name}" for name in figures), tuple(
        f"supplement/{name}" for name in texts)) for figures, texts in chapters.SUPPLEMENT.values())]
    assert pictures <= {name for figures, _ in shown for name in figures} | {"fig1", "fig_training", "fig_psi", "fig3_real"}
    assert {name for name in written if not re.search(r"claims(_S\d)?$", name)} <= {
        name for _, texts in shown for name in texts} | {"table1", "table2", "training", "probe", "table3_real"}


def test_what_another_run_left_is_not_shown(run):
    """A clone has figures and tables of the whole committed run; of a new one only what it wrote itself is shown."""
    own = frozenset(path for path in run.results if path.parent.name == "demo" and "real" not in path.stem)
    names = [{each.name for each in chapters.chapters(of)} for of in (run, dataclasses.replace(run, results=own))]
    assert names[0] - names[1] == {"real", *(f"supplement/S{number}" for number in range(1, 9))}
    assert "beyond the paper" not in str(chapters.front(dataclasses.replace(run, results=own), []))


def test_an_unfinished_run_is_refused_in_one_line(study):
    with pytest.raises(StageError) as refused:
        whole.report(study)
    text = str(refused.value)
    assert "the smoke run is not finished: 00_simulate and " in text and "make paper PROFILE=smoke" in text
    assert "\n" not in text and not list(study.paths.root.iterdir())


def test_files_of_others_are_not_replaced(study, monkeypatch):
    monkeypatch.setattr(whole, "finished", lambda *_: pytest.fail("too late"))
    theirs = study.paths.root / "site" / "index.html"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    with pytest.raises(OutputError, match="make report did not write"):
        whole.report(study)
    assert theirs.read_text() == "mine"


def test_an_old_site_stays_where_a_new_one_cannot_be_made(study, monkeypatch):
    root = study.paths.root
    old = root / "site" / whole.MARK
    old.parent.mkdir(parents=True)
    old.write_text("old")

    def failing(run, work, rooms):
        (work / "source").mkdir()
        raise StageError("no", where="report")

    monkeypatch.setattr(whole, "finished", lambda *_: None)
    monkeypatch.setattr(whole, "make", failing)
    with pytest.raises(StageError, match="no"):
        whole.report(study)
    assert old.read_text() == "old" and [path.name for path in root.iterdir()] == ["site"]

    def working(run, work, rooms):
        (work / "site").mkdir()
        (work / "site" / "index.html").write_text("new")

    monkeypatch.setattr(whole, "make", working)
    assert whole.report(study).read_text() == "new"
    assert not old.exists() and [path.name for path in root.iterdir()] == ["site"]


def picture(colour: int) -> str:
    stream = io.BytesIO()
    Image.new("L", (900, 40), colour).save(stream, format="png")
    return base64.b64encode(stream.getvalue()).decode()


def executed(folder: Path, picture_of_run: Path) -> Path:
    """A notebook as one runs: text, a progress bar, a wide table, a figure of the run and a picture of its own."""
    v4 = nbformat.v4
    wide = pd.DataFrame(np.arange(60.0).reshape(2, 30)).to_html()
    figure = base64.b64encode(picture_of_run.read_bytes()).decode()
    cells = [v4.new_markdown_cell("# 04 Evaluate\n\nText with $\\lambda^*$."), v4.new_markdown_cell("## Pictures"),
             v4.new_code_cell("x = 1  # " + "long " * 40, outputs=[
                 v4.new_output("stream", name="stderr", text="pilot: 100%|####| 2/2 [00:03]"),
                 v4.new_output("stream", name="stdout", text="word " * 80),
                 v4.new_output("execute_result", {"text/html": wide, "text/plain": "table"})]),
             v4.new_code_cell("Image(2)", outputs=[v4.new_output("execute_result", {"image/png": figure})]),
             v4.new_code_cell("Image(3)", outputs=[v4.new_output("display_data", {"image/png": picture(90)})])]
    path = folder / "04_evaluate.ipynb"
    nbformat.write(v4.new_notebook(cells=cells, metadata={"kernelspec": {
        "name": "python3", "language": "python", "display_name": "Python 3"}}), path)
    return path


@pytest.fixture(scope="module")
def run(committed, tmp_path_factory) -> gathered.Gathered:
    """The committed results of the demo, as a run with one notebook and two stages."""
    folder, demo = tmp_path_factory.mktemp("run"), committed / "demo"
    stamps = []
    for number, name in enumerate(("00_simulate", "01_preprocess")):
        stamps.append(folder / f"{name}.json")
        stamps[-1].write_text(json.dumps({
            "step": name, "commit": "0123456789", "versions": {"python": "3.12.1"}, "seconds": 75.5, "peak_memory_mib": 1234,
            "arithmetic": [{"processor": "X <1>", "cores": 2}], "config": {"seeds": [5, 6 + number]}}))
    return gathered.gather("demo", True, demo, demo.rglob("*"), [executed(folder, demo / "fig2.png")], stamps, ["05_stats"])


@pytest.fixture(scope="module")
def site(run, tmp_path_factory) -> Path:
    """The whole site, with pages of two small rooms of lib."""
    work = tmp_path_factory.mktemp("work")
    whole.make(run, work, ["paper", "metrics"])
    shutil.rmtree(work / "source")  # nothing of the site may need it
    return work / "site"


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


CUT = """() => {
  const scrolls = (node) => node && node !== document.body &&
    (["auto", "scroll"].includes(getComputedStyle(node).overflowX) ? node.getBoundingClientRect().right <= innerWidth + 1 :
     scrolls(node.parentElement));
  const kinds = ["table", "pre", "img", "mjx-container", "dt", "p"].map((kind) => "article " + kind).join(", ");
  return [...document.querySelectorAll(kinds)].filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
    .filter((node) => !scrolls(node)).map((node) => node.outerHTML.slice(0, 200));
}"""
LOADED = """async () => {
  const images = [...document.images];
  await Promise.all(images.map(async (image) => { image.loading = "eager"; await image.decode().catch(() => 0); }));
  return images.map((image) => [image.getAttribute("src"), image.naturalWidth, image.alt]);
}"""


def test_every_page_is_whole_on_a_phone(site, browser):
    """No message of the browser, no request to a host, every picture there and described, nothing wider than the screen
    without a scroll of its own, every link leads somewhere."""
    pages = sorted(site.rglob("*.html"))
    names = {str(path.relative_to(site)) for path in pages}
    assert {"index.html", "rq1.html", "claims.html", "supplement/S8.html", "notebooks/04_evaluate.html",
            "api/lib.metrics.image_quality.html", "reproduction.html"} <= names
    watched, links, ids, pictures = Watched(browser, PHONE), {}, {}, 0
    for path in pages:
        page = watched.open(path)
        assert watched.problems == [], path.name
        assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE, path.name
        assert page.evaluate(CUT) == [], path.name
        for source, width, alt in page.evaluate(LOADED):
            assert width > 0 and len(alt) > 20, (path.name, source, alt)
            pictures += 1
        links[path] = page.eval_on_selector_all("a[href]", "all => all.map((each) => each.href)")
        ids[path] = set(page.eval_on_selector_all("[id]", "all => all.map((each) => each.id)"))
    watched.close()
    assert pictures > 15
    for path, targets in links.items():
        for target in (each for each in targets if each.startswith("file:")):
            file, _, anchor = target.removeprefix("file://").partition("#")
            assert Path(file).is_file() and Path(file).is_relative_to(site), (path.name, target)
            assert not anchor or Path(file) not in ids or anchor in ids[Path(file)], (path.name, target)


def contrast(first: str, second: str) -> float:
    """Of two colours 'rgb(1, 2, 3)', as WCAG 2 defines it."""
    def luminance(colour: str) -> float:
        share = np.array([float(each) for each in re.findall(r"[\d.]+", colour)[:3]]) / 255
        return float(np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))

    low, high = sorted(map(luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


def test_light_and_dark_can_be_read(site, browser):
    grounds = {}
    for scheme in ("light", "dark"):
        watched = Watched(browser, scheme=scheme)
        page = watched.open(site / "claims.html")
        grounds[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        for kind in tables.VERDICTS:
            ink, ground = page.eval_on_selector(f".verdict.{kind}", "each => [getComputedStyle(each).color, "
                                                "getComputedStyle(each).backgroundColor]")
            assert contrast(ink, ground) >= 4.5, (scheme, kind)
        text = page.eval_on_selector("table.data td", "each => getComputedStyle(each).color")
        assert contrast(text, grounds[scheme]) >= 7 and watched.problems == []
        watched.open(site / "rq1.html")
        assert page.eval_on_selector("figure.card", "each => getComputedStyle(each).backgroundColor") == "rgb(255, 255, 255)"
        watched.close()
    assert contrast(*grounds.values()) > 10


def test_the_keyboard_reaches_everything_and_shows_where_it_is(site, browser):
    watched = Watched(browser)
    page = watched.open(site / "rq2.html")
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("""() => { const at = document.activeElement, style = getComputedStyle(at);
            return [at.innerText.trim(), at.className, style.outlineStyle !== "none" || at === document.body]; }"""))
    assert reached[0][0].lower() == "skip to content"
    assert "Methods" in [text for text, *_ in reached] and "wide" in [name for _, name, _ in reached]
    assert [name for _, name, seen in reached if not seen] == []
    watched.close()


def test_drawers_of_the_phone_open_shut_and_have_names(site, browser):
    """What is shut cannot be reached with the keyboard; every button has a name and says whether it is open."""
    phone = Watched(browser, PHONE)
    page = phone.open(site / "rq2.html")
    for _ in range(15):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.getBoundingClientRect().right > 0"), "off the screen"
    button = page.locator("label[for='__navigation'][role='button']")
    assert button.get_attribute("aria-expanded") == "false"
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.sidebar-drawer').getBoundingClientRect().left >= 0")
    assert button.get_attribute("aria-expanded") == "true" and page.locator(".sidebar-tree a").first.is_visible()
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelector('.sidebar-drawer').getBoundingClientRect().right <= 0")
    assert not page.locator(".sidebar-tree a").first.is_visible()
    assert page.evaluate("document.activeElement.htmlFor") == "__navigation"
    names = page.eval_on_selector_all("[role='button'], button", "all => all.map((each) => each.ariaLabel)")
    assert len(names) > 4 and all(names)
    phone.close()


def test_formulas_are_drawn_and_words_are_found(site, browser):
    watched = Watched(browser)
    page = watched.open(site / "methods.html")
    assert page.locator("mjx-container svg").count() > 10
    assert page.locator("mjx-merror, [data-mml-node='merror']").count() == 0
    assert "$" not in page.inner_text("article")
    page = watched.open(site / "search.html", "?q=Wilcoxon")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results li a").count() > 0 and watched.problems == []
    watched.close()


def test_pages_say_what_the_run_is(site, run):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "demo profile · simulated scans · ImageNet* stands in" in text and "OUT OF DATE" in text, path
        assert not re.search(r"""(?:src|href)=["'](?:https?:)?//(?![^"']*furo)""", text), path
    front = (site / "index.html").read_text(encoding="utf-8")
    assert front.index("<details") < front.index("<h2>Abstract<") < front.index("<img")  # shut, then text, then a picture
    verdicts = run.claims[run.claims["question"].isin(["RQ1", "RQ2", "RQ3"])]["verdict"].value_counts()
    assert f"Of {verdicts.sum()} tests of the paper's claims {verdicts['stands']} stand" in html.unescape(front)
    assert "trained with 6 loss functions (mse, baseline, E1, E2, E3 and E4), from 3 seeds each" in html.unescape(front)
    made = html.unescape((site / "reproduction.html").read_text(encoding="utf-8"))
    for each in ("0123456789", "X <1>", "1 min 16 s", "2 min 31 s", "1,234", "5, 6 and 7", "05_stats", "3.12.1"):
        assert each in made, each
    book = (site / "notebooks" / "04_evaluate.html").read_text(encoding="utf-8")
    assert "100%" not in book and html.escape(captions.FIGURES["fig2"].alt, quote=False)[:60] in book


def test_the_pdf_has_the_numbers(site, run):
    path = site / "paper.pdf"
    assert path.stat().st_size < 5e6
    document = pypdfium2.PdfDocument(path)
    assert document.get_metadata_value("Title").startswith(reproduction.citation()["title"])
    text = ""
    for page in document:
        text += page.get_textpage().get_text_range() + "\n"
        assert np.ptp(page.render(scale=0.2, grayscale=True).to_numpy()) > 100  # ink on paper
    first = document[0].get_textpage().get_text_range()
    assert "SIMULATED cohort" in first and run.commit in first
    for _, row in run.scores.iterrows():
        assert f"{row['ssim_mean']:.3f} ({row['ssim_sd']:.3f})" in text and f"{row['psnr_mean']:.2f}" in text
    assert all(letter in text for letter in "Ψλϕ−±Γ")
    document.close()


def test_the_pdf_is_the_same_twice(run, tmp_path):
    some = [Chapter("methods", "Methods", (Prose("At λ\\* $\\Psi^{*}$"), *run.table("table1"), *run.picture("fig2")))]
    for name in ("a", "b"):
        paper.write_paper(run, some, tmp_path / name, tmp_path / f"{name}.pdf")
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_a_finished_run_becomes_a_report(smoke, tmp_path, monkeypatch):
    """The smoke study's, copied: site and PDF are there, the second report replaces the first."""
    for name in ("artifacts", "figures"):
        shutil.copytree(smoke / name / "smoke", tmp_path / name / "smoke")
    study = load_study("smoke")
    index = whole.report(study, rooms=["paper"])
    assert index == tmp_path / "site" / "index.html" and (tmp_path / "site" / "paper.pdf").is_file()
    assert (tmp_path / "site" / "notebooks" / "01_preprocess.html").is_file()
    assert {stage.name for wave in stages(study) for stage in wave} <= set(re.findall(
        r"0\d_\w[\w-]*", (tmp_path / "site" / "reproduction.html").read_text()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifacts", "figures", "site"]
