"""Pages made from tables full of hostile names: they run nothing, request nothing and show all.

Every form of `hostile_names` is in some visible field. The pages are opened as they are, without
their content security policy, on which escaping must not rely, and as Quarto's pandoc would write
them, with raw HTML and every extension on.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pandas as pd
import pypandoc
import pytest
from browser import browser
from hostile_names import FORMS
from synthetic import make_study

from reports import qmd, render
from reports.explorer_page import policy, script
from study import HOME

REPORTS = Path(__file__).parents[1] / "reports"
TRIALS = HOME / "data" / "steering" / "demo"

#: References, figures, and what no page in HTML has.
LEFT_TO_QUARTO = (
    r"(?<!\\)@(fig|tbl|eq|sec)-[\w-]+|!\[\]\([\w.-]+\)"
    r'|(?s:::: \{\.content-hidden when-format="html"\}.*?\n:::\n)'
)


def hostile_study(folder: Path, forms: list[str]) -> Path:
    """Write a study and trials with each form in some field."""
    left = iter(forms)
    study = make_study(folder, families=(2, 1), n_emotions=14, methods=("comprehension", "other"))
    run = json.loads((study / "run.json").read_text(encoding="utf-8"))
    names: dict[str, dict[str, str]] = {}
    for table in ("scores", "replicates"):
        rows = pd.read_parquet(study / f"{table}.parquet")
        for column in ("model", "family", "method", "precision", "emotion"):
            if column in rows:
                kept = names.setdefault(
                    column, {str(v): next(left) for v in sorted(rows[column].unique())}
                )
                rows[column] = rows[column].map(kept)
        rows.to_parquet(study / f"{table}.parquet", index=False)
    for emotion in run["emotions"]:
        emotion["name"] = names["emotion"][emotion["name"]]
    for metric in run["metrics"].values():
        metric["label"] = next(left)
    run["study"]["preregistered"]["method"] = names["method"]["comprehension"]
    trials = pd.read_parquet(TRIALS / "trials.parquet")
    steered = json.loads((TRIALS / "run.json").read_text(encoding="utf-8"))
    models = dict(zip(sorted(trials["model"].unique()), names["model"].values(), strict=False))
    trials["model"] = trials["model"].map(models)
    blocks = pd.read_parquet(study / "scores.parquet").groupby("model")["n_layers"].first()
    trials["n_layers"] = trials["model"].map(blocks)
    trials["layer"] = (trials["depth"] * trials["n_layers"]).round().astype(int)
    for column in ("emotion", "scenario"):
        trials[column] = trials[column].map({v: next(left) for v in trials[column].unique()})
    trials["text"] = [forms[i % len(forms)] for i in range(len(trials))]
    judge = next(left)
    trials = trials.rename(
        columns={f"{way}score_nrclex": f"{way}score_{judge}" for way in ("", "baseline_")}
    )
    trials.to_parquet(study / "trials.parquet", index=False)
    run["judges"] = {**steered["judges"], judge: steered["judges"]["nrclex"]}
    run["study"]["steering"] = steered["study"]["steering"]
    run["certificates"] = [
        dict.fromkeys(("model", "weights", "precision"), form)
        | {"checks": [{"check": form, "value": 1e-7, "limit": 1e-3}]}
        for form in forms
    ]
    run["topics"], run["corpus_sha256"], run["study"]["seed"] = forms, forms[2], forms[3]
    # Of numbers from elsewhere alone: no run file may say it.
    run |= {"claims": forms[0], "words": {"concepts": "ours"}, "notes": forms, "assumed": forms}
    run["command"] = [*left, *forms]
    run["versions"] = {f"lib{i}": form for i, form in enumerate(forms)}
    run["git_commit"], run["written"] = forms[0], forms[1]
    (study / "run.json").write_text(json.dumps(run), encoding="utf-8")
    return study


@dataclass
class Pages:
    """The pages by name, and the text that must be visible in each."""

    files: dict[str, Path]
    forms: list[str]
    asked: list[str]
    markdown: str
    pdf: Path


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *unused: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    forms = [form.replace("{url}", url) for form in FORMS]
    folder = tmp_path_factory.mktemp("hostile")
    study = hostile_study(folder / "study", forms)
    texts: dict[str, str] = {}
    write = render.write

    def note(report: qmd.Report, text: str, *places: Path) -> list[Path]:
        texts[report.path.stem] = text
        return write(report, text, *places)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET", "the-secret")
        patch.setattr(render, "write", note)
        files = {}
        for name in ("paper", "explore"):
            made = render.render(REPORTS / f"{name}.qmd", {"study": str(study)}, folder / "out")
            files[name] = made[0]
            bare = re.sub(
                r"<meta[^>]*Content-Security-Policy[^>]*>", "", made[0].read_text("utf-8")
            )
            files[f"{name}, no policy"] = folder / f"{name}-bare.html"
            files[f"{name}, no policy"].write_text(bare, encoding="utf-8")
            as_quarto = folder / f"{name}-quarto.html"
            pypandoc.convert_text(
                # Quarto itself resolves references and conditions; the figures lie elsewhere.
                re.sub(LEFT_TO_QUARTO, "", texts[name]),
                "html",
                "markdown+emoji+autolink_bare_uris+mark+hard_line_breaks",
                ["--standalone", "--mathml", "--metadata=title:As Quarto"],
                outputfile=str(as_quarto),
            )
            files[f"{name}, as Quarto"] = as_quarto
        yield Pages(files, forms, asked, texts["paper"], folder / "out" / "paper.pdf")
    server.shutdown()


def shown(text: str) -> str:
    return re.sub(r"\s+", "", text.replace("\u202e", r"\u202e"))


def test_at_least_sixty_forms_are_tried() -> None:
    assert len(set(FORMS)) >= 60


def test_no_script_runs_nothing_is_asked_for_and_all_is_shown(pages: Pages) -> None:
    if shutil.which("chromedriver") is None:
        pytest.skip("no chromedriver: the pages were made but not opened")
    ours = {"paper": 0, "explore": 2}
    with browser() as page:
        for name, file in pages.files.items():
            report = name.partition(",")[0]
            page.open(file)
            if report == "explore":
                page.wait("return document.querySelectorAll('.mark-rect path').length > 10")
            titles = {"paper": "Do language models", "explore": "Explore the depth"}
            title = "As Quarto" if name.endswith("Quarto") else titles[report]
            assert page.run("return document.title").startswith(title), name
            assert page.run("return window.ran === undefined"), name
            assert page.run("return document.scripts.length") == ours[report], name
            assert page.run("return performance.getEntriesByType('resource').length") == 0, name
            assert page.run(FOREIGN) == [], name
            text = shown(page.run("return document.body.textContent"))
            if report == "paper":
                missing = [form for form in pages.forms if shown(form) not in text]
                assert not missing, (name, missing)
            assert not [word for word in SECRETS if word in text], name
    assert pages.asked == []


def test_the_pdf_shows_names_as_they_are(pages: Pages) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext: the PDF was made but not read")
    command = ["pdftotext", "-raw", str(pages.pdf), "-"]
    text = shown(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # The PDF's fonts have no letters of Chinese and Japanese.
    missing = [f for f in pages.forms if "日本" not in f and shown(f) not in text]
    assert not missing, missing
    assert not [word for word in SECRETS if word in text]


#: Secrets that a reader's machine has, and no page may show.
SECRETS = ("the-secret", "root:x:0", "root:*:0")
#: Elements and attributes that only a name could have added, and addresses that are not ours.
FOREIGN = """
const odd = [...document.querySelectorAll(
  'iframe, object, embed, base, link, form[action], input[autofocus], meta[http-equiv=refresh], '
  + 'details, video, [style*=red]')];
for (const element of document.querySelectorAll('*'))
  for (const {name, value} of element.attributes)
    if (name.startsWith('on') || /^\\s*javascript:/i.test(value)
        || (name === 'src' && !value.startsWith('data:'))
        || (name === 'href' && !/^(#|https:\\/\\/)/.test(value)))
      odd.push(element);
return odd.map(element => element.outerHTML.slice(0, 200));
"""


def test_the_explorer_shows_names_as_they_are(pages: Pages) -> None:
    if shutil.which("chromedriver") is None:
        pytest.skip("no chromedriver: the explorer was built but not opened")
    with browser() as page:
        page.open(pages.files["explore"])
        page.wait("return document.querySelectorAll('.mark-rect path').length > 10")
        options = page.run(
            "return [...document.querySelectorAll('select:not(#explorer-theme)')].map("
            "box => [...box.options].map(option => option.textContent))"
        )
        assert {option for box in options for option in box} <= set(pages.forms)
        assert [len(box) for box in options] == [4, 2, 3]
        ticks = page.run(
            "return [...document.querySelectorAll('.choices label')].map(l => l.textContent)"
        )
        assert len(set(ticks) & set(pages.forms)) == len(ticks) == 14 + 3
        text = shown(page.run("return document.querySelector('#explorer').textContent"))
        examples = page.run(
            "const {studies} = JSON.parse(document.querySelector('#explorer-data').textContent);"
            "return studies[0].examples.map(row => row.at(-1))"
        )
        assert examples
        assert all(shown(example) in text for example in examples)
        page.choose(2, options[2][1])
        titles = "[...document.querySelectorAll('h2')].map(t => t.textContent)"
        page.wait(f"return ({titles}).includes({json.dumps('Emotions in ' + options[2][1])})")
        for menu in (0, 1):
            page.choose(
                menu, page.run(f"return document.querySelectorAll('select')[{menu}][1].value")
            )
        page.run("document.querySelector('#explorer-numbers').click()")
        # The address names the view, and a page opened with it shows the same.
        before = page.run("return document.querySelector('#explorer').innerText")
        page.run("location.reload()")
        page.wait(f"return ({titles}).includes({json.dumps('Emotions in ' + options[2][1])})")
        assert page.run("return document.querySelector('#explorer').innerText") == before
        assert page.run("return window.ran === undefined")
    assert pages.asked == []


def test_a_script_that_got_into_a_page_would_not_run(pages: Pages, tmp_path: Path) -> None:
    """Without escaping, the policy alone stops the script; without the policy it runs."""
    if shutil.which("chromedriver") is None:
        pytest.skip("no chromedriver")
    with browser() as page:
        for name in ("paper", "explore", "paper, no policy"):
            html = pages.files[name].read_text(encoding="utf-8")
            evil = "<script>window.ran = 1</script><img src=x onerror='window.ran = 2'>"
            file = tmp_path / "page.html"
            file.write_text(html.replace("</body>", f"{evil}<p id=end></p></body>"), "utf-8")
            page.open(file)
            page.wait("return document.querySelector('#end') && document.readyState === 'complete'")
            assert page.run("return window.ran !== undefined") == ("no policy" in name)


def test_quarto_finds_no_construct_of_its_own_in_names(pages: Pages) -> None:
    """Shortcodes are found in the text before pandoc reads it, and in code, raw text and links."""
    assert "{{<" not in pages.markdown
    assert not re.search(r"`[^`\n]*`\{=", pages.markdown)
    assert not re.search(r"(?<!\\)`\{(python|r)\}", pages.markdown)
    tree = json.loads(pypandoc.convert_text(pages.markdown, "json", "markdown"))
    kinds: dict[str, list[object]] = {}

    def walk(node: object) -> None:
        if isinstance(node, dict):
            if "t" in node:
                kinds.setdefault(str(node["t"]), []).append(node.get("c"))
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(tree)
    assert not {"RawInline", "RawBlock", "CodeBlock", "Note"} & set(kinds)
    for code in [*kinds.get("Code", []), *kinds.get("Link", []), *kinds.get("Image", [])]:
        assert "{{" not in json.dumps(code)
        assert "127.0.0.1" not in json.dumps(code)


def test_the_script_of_the_explorer_is_named_by_its_hash_alone(pages: Pages) -> None:
    """Scripts that a renderer adds by itself have another hash, and do not run."""
    html = pages.files["explore"].read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    named = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    assert len(named) == 1
    assert re.findall(r"'sha256-[^']+'", policy()) == named
    assert policy().strip()[:-1] in unescape(html)
    assert "'sha256-" in policy()
    for word in ("unsafe-eval", "http:", "https:", "*", "script-src 'unsafe-inline'", "'self'"):
        assert word not in policy()
    assert "default-src 'none'" in (REPORTS / "policy.html").read_text(encoding="utf-8")
    assert "</script" not in script().lower()
