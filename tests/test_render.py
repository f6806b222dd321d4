"""The light renderer accepts only constructs to which it gives the same meaning as Quarto."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pypandoc
import pytest

from reports import published_text, qmd, render, word_styles

REPORTS = Path(__file__).resolve().parents[1] / "reports"


FRONT = """---
title: "A test"
author: "The project"
bibliography: references.bib
format:
  html:
    css: theme.css
  typst:
    citeproc: true
    papersize: a4
    section-numbering: "1.1"
    include-in-header: house.typ
---

"""
DOCUMENT = """
```{python}
#| include: false
#| tags: [parameters]
study = "demo"
```

```{python}
#| include: false
import pandas as pd
from study.text import Markdown
secret = 41
```

::: {.abstract}

## Abstract {.unnumbered}

The study is `{python} study`; `{python} Markdown("**bold**")` but `{python} "*plain*"`,
and the answer is `{python} secret + 1`.

:::

# First {#sec-first}

@lind2010 and [@simonsohn2018, p. 540], @sec-second, @fig-line, [-@fig-line], @tbl-two, @eq-line.

$$
y = a + b x
$$ {#eq-line}

## Second {#sec-second}

```{python}
#| label: tbl-one
#| tbl-cap: "Label by cell."
Markdown("| Model | Vertex |\\n|:--|--:|\\n| a | 0.5 |")
```

::: {#tbl-two}

```{python}
Markdown("| Model | Vertex |\\n|:--|--:|\\n| b | 0.6 |")
```

Computed caption: `{python} study`.

:::

```{python}
#| label: fig-line
#| fig-cap: "A *figure*."
#| fig-alt: "A rising line"
import plotnine as p9
p9.options.figure_format = "svg"
p9.ggplot(pd.DataFrame({"x": [0, 1]}), p9.aes("x", "x")) + p9.geom_line()
```

::: {.callout-note title="Beware"}

Inside the callout.

:::

```{python}
#| output: asis
print("Printed, with a reference to @tbl-one.")
```

```{python}
#| echo: true
1 + 1
```

# References {.unnumbered}

::: {#refs}
:::
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("_quarto.yml", "adapt.lua", "theme.css", "house.typ", "references.bib"):
        shutil.copy(REPORTS / name, tmp_path)
    shutil.copy(REPORTS / "reference.docx", tmp_path)
    return tmp_path


def failure(
    folder: Path, body: str, front: str = FRONT, params: dict[str, str] | None = None
) -> str:
    """Return the message of a document that fails, after checking that nothing was written."""
    path = folder / "t.qmd"
    path.write_text(front + body, encoding="utf-8")
    with pytest.raises(qmd.RenderError) as caught:
        render.render(path, params or {}, folder / "out")
    assert not (folder / "out").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def line_of(body: str, text: str) -> int:
    """Return the line of the document in which a text first occurs."""
    return (FRONT + body)[: (FRONT + body).index(text)].count("\n") + 1


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html.split("<body>")[1]))


def test_every_construct_is_rendered(folder: Path) -> None:
    path = folder / "t.qmd"
    path.write_text(FRONT + DOCUMENT, encoding="utf-8")
    written = render.render(path, {"study": "other"}, folder / "out", ["html", "typst", "docx"])
    assert [p.name for p in written] == ["t.html", "t.pdf", "t.docx"]
    assert written[1].read_bytes().startswith(b"%PDF")
    html = written[0].read_text(encoding="utf-8")
    text = text_of(html)
    assert "The study is other;" in text
    assert "<strong>bold</strong>" in html
    assert "*plain*" in text
    assert "and the answer is 42." in text
    assert "Lind and Mehlum" in text
    assert "Simonsohn 2018, 540" in text
    assert re.search(r"Section\s1\.1, Figure\s1, 1, Table\s2, Equation\s1\.", text)
    assert "Table 1: Label by cell." in text
    assert "Table 2: Computed caption: other." in text
    assert "Figure 1: A figure." in text
    assert 'alt="A rising line"' in html
    assert "<math" in html
    assert "(1)" in text
    assert "Inside the callout." in text
    assert "Beware" in text
    assert "with a reference to Table" in text
    assert "1 + 1" in text
    assert "secret = 41" not in text
    assert "Oxford Bulletin" in text
    assert not re.search(r'(src|href)="(?!#|data:|https://)', html), "not self-contained"
    word = pypandoc.convert_file(str(written[2]), "plain", extra_args=["--columns=200"])
    for said in ("The study is other; bold but *plain*", "1.1 Second", "[A rising line]"):
        assert said in word
    assert "Section 1.1, Figure 1, 1, Table 2, Equation 1." in word.replace("\xa0", " ")
    assert re.search(r"a +0\.5\n.*?Table.1: Label by cell\.", word, re.DOTALL)
    with zipfile.ZipFile(written[2]) as parts:
        (picture,) = [name for name in parts.namelist() if "/media/" in name]
        assert parts.read(picture).startswith(b"\x89PNG")
        document = parts.read("word/document.xml").decode()
    assert 'descr="A rising line"' in document
    assert ">Figure\xa01: A<" in document


CONDITIONAL = """
::: {.content-visible when-format="html"}

Only in the page.

:::

::: {.content-hidden when-format="html"}

[x]{.title}Only elsewhere.

:::
"""


@pytest.mark.parametrize(("to", "has"), [("html", "page"), ("docx", "elsewhere")])
def test_content_is_conditional_on_the_format(folder: Path, to: str, has: str) -> None:
    path = folder / "t.qmd"
    path.write_text("---\nformat:\n  html:\n    css: theme.css\n---\n" + CONDITIONAL, "utf-8")
    (file,) = render.write(qmd.parse(path), CONDITIONAL, folder, folder / "out", [to])
    text = pypandoc.convert_file(str(file), "plain", extra_args=["--standalone"])
    assert f"Only {'in the page' if has == 'page' else 'elsewhere'}." in text
    assert text.count("Only") == 1
    assert ("x" in text.split("Only")[0]) == (to == "docx")  # by the project's filter


def test_the_styles_for_word_are_made_by_their_script() -> None:
    with (
        zipfile.ZipFile(REPORTS / "reference.docx") as committed,
        zipfile.ZipFile(io.BytesIO(word_styles.reference())) as made,
    ):
        assert committed.namelist() == made.namelist()
        for name in made.namelist():
            assert committed.read(name) == made.read(name), name


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("```{python}\n#| fig-width: 5\n1\n```\n", "unknown cell option 'fig-width'"),
        ("```{python}\n#| output: maybe\n1\n```\n", "output must be true, false or asis"),
        ("```{r}\n1\n```\n", "only {python} cells"),
        ("```{python}\n1\n", "has no end"),
        ("::: {.panel-tabset}\n\nx\n\n:::\n", "unknown class .panel-tabset"),
        ("::: aside\n\nx\n\n:::\n", "unknown class .aside"),
        ("::: {.callout-note collapse=true}\n\nx\n\n:::\n", "unknown attribute 'collapse'"),
        ("[x]{.smallcaps}\n", "unknown class .smallcaps"),
        ("# A {#thm-a}\n", "unknown kind of label #thm-a"),
        ("{{< pagebreak >}}\n", "a shortcode"),
        ("<br>\n", "raw HTML"),
        ("See @fig-none.\n", "@fig-none refers to nothing"),
        ("# A {#sec-a}\n\nSee @sec-a [@lind2010].\n", "put a word between @sec-a"),
        ("As @nobody2020 says.\n", "@nobody2020 is not in references.bib"),
    ],
)
def test_unknown_constructs_are_errors(folder: Path, body: str, says: str) -> None:
    message = failure(folder, body)
    assert says in message
    assert re.match(r"t\.qmd:\d+: ", message)


def test_errors_name_the_line(folder: Path) -> None:
    body = "Text.\n\nMore\ntext.\n\n{{< video x >}}\n"
    assert failure(folder, body).startswith(f"t.qmd:{line_of(body, '{{<')}: ")
    body = "```{python}\n#| echo: false\n#| fancy: true\n1\n```\n"
    assert failure(folder, body).startswith(f"t.qmd:{line_of(body, '#| fancy')}: ")


@pytest.mark.parametrize(
    "key", ["subtitel: x", "format:\n  odt: default", "execute:\n  cache: true"]
)
def test_unknown_front_matter_is_an_error(folder: Path, key: str) -> None:
    front = f"---\ntitle: x\n{key}\n---\n"
    name = key.split(":")[-2].split()[-1]
    assert repr(name) in failure(folder, "", front)


def test_failing_cell_fails_the_render(folder: Path) -> None:
    body = "Text.\n\n```{python}\nx = 1\n```\n\n```{python}\n1 / 0\n```\n"
    where = line_of(body, "```{python}\n1 / 0")
    assert failure(folder, body) == f"t.qmd:{where}: ZeroDivisionError: division by zero"


def test_failing_inline_expression_fails_the_render(folder: Path) -> None:
    body = "One.\n\nTwo `{python} 1`\nand `{python} nothing`.\n"
    message = failure(folder, body)
    assert message.startswith(f"t.qmd:{line_of(body, 'and `')}: NameError")


def test_output_is_checked_like_source(folder: Path) -> None:
    body = "```{python}\n#| output: asis\nprint('{{< video x >}}')\n```\n"
    assert "a shortcode" in failure(folder, body)
    body = "```{python}\n#| label: tbl-a\n#| tbl-cap: A\nprint(1); 2\n```\n"
    assert "tbl-a needs one output" in failure(folder, body)


def test_figures_need_alternative_text(folder: Path) -> None:
    body = DOCUMENT.replace('#| fig-alt: "A rising line"\n', "")
    assert "needs a fig-alt" in failure(folder, body)


def test_unknown_parameter_lists_those_known(folder: Path) -> None:
    body = "```{python}\n#| tags: [parameters]\nstudy = 'demo'\n```\n"
    assert "-P stud: no such parameter; known are study" in failure(
        folder, body, params={"stud": "x"}
    )
    assert "no cell is tagged parameters" in failure(folder, "Text.\n", params={"study": "x"})


@pytest.mark.parametrize("given", ["study", "study:", ":demo"])
def test_parameter_without_name_or_value_is_refused(
    given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render.main(["-P", given]) == 2
    assert f"-P {given}: give NAME:VALUE, for instance -P study:demo" in capsys.readouterr().err


def test_command_line_says_which_reports_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert render.main(["nothing"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "there are" in err
    assert "paper" in err


def test_bibliography_entries_are_complete_and_cited_keys_exist() -> None:
    needed = {
        "article": {"author", "title", "journal", "year", "volume", "pages"},
        "misc": {"author", "title", "year", "url", "eprint"},
        "online": {"author", "title", "year", "url"},
    }
    text = (REPORTS / "references.bib").read_text(encoding="utf-8")
    entries = re.findall(r"^@(\w+)\{([\w-]+),\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    assert text.count("\n@") + 1 == len(entries)
    for kind, key, body in entries:
        fields = set(re.findall(r"^\s*(\w+) = \{.+\},?$", body, re.MULTILINE))
        assert needed[kind] <= fields, key
        assert fields & {"doi", "url"}, key
    keys = [key for _, key, _ in entries]
    assert len(keys) == len(set(keys))
    paper = qmd.parse(REPORTS / "paper.qmd")
    prose = "\n".join(qmd._prose(c.text) for c in paper.chunks if not c.is_cell)
    prose += "\n" + (REPORTS / "elsewhere_text.py").read_text(encoding="utf-8")
    prose += "\n" + " ".join(published_text.CITED.values())
    cited = set(qmd.CITATION.findall(qmd.REFERENCE.sub("", prose)))
    assert cited == set(keys)


def test_every_figure_and_table_is_cited() -> None:
    text = (REPORTS / "paper.qmd").read_text(encoding="utf-8")
    labels = set(re.findall(r"(?:#\| label: |\{#)((?:fig|tbl)-[\w-]+)", text))
    prose = text + "".join(p.read_text(encoding="utf-8") for p in REPORTS.glob("*.py"))
    assert len(labels) > 20
    assert labels == {label for label in labels if re.search(rf"@{label}\b(?!-)", prose)}


def test_several_reports_are_rendered_side_by_side(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each waits until the other has begun."""
    waits = """```{{python}}
#| include: false
import time
from pathlib import Path
Path("begun-{own}").touch()
until = time.monotonic() + 300
while not Path("begun-{other}").exists():
    assert time.monotonic() < until
    time.sleep(0.05)
```

Done.
"""
    paths = [folder / "one.qmd", folder / "two.qmd"]
    for own, other in (paths, paths[::-1]):
        own.write_text(FRONT + waits.format(own=own.stem, other=other.stem), encoding="utf-8")
    out = folder / "out"
    assert render.main([*map(str, paths), "--to", "html", "--output", str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out / "one.html"), str(out / "two.html")]
    paths[0].write_text(FRONT + "`{python} 1 / 0`", encoding="utf-8")
    assert render.main([*map(str, paths), "--output", str(out)]) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_command_runs_as_a_script() -> None:
    done = subprocess.run(
        [sys.executable, REPORTS / "render.py", "paper", "-P", "study:nowhere"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no such study folder" in done.stderr
