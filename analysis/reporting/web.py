"""Return Markdown as a page for browsers that stands alone, loads nothing and runs no script."""

from __future__ import annotations

from analysis.reporting.exports import SOURCE
from study.home import requirements
from study.read import InputError
from study.text import html_text

#: Allow no scripts, and load nothing from a network.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">"
)
STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
padding: 0 1rem; color: #1d2129; overflow-wrap: break-word; } h1, h2 { line-height: 1.25; color:
#0f5c8c; } table { border-collapse: collapse; font-size: 0.9rem; } th, td { text-align: left;
vertical-align: top; padding: 0.3rem 0.8rem 0.3rem 0; border-bottom: 1px solid #ccc; }
.wide { overflow-x: auto; } svg { max-width: 100%; height: auto; }"""


def as_page(text: str, title: str) -> str:
    r"""Return a text in Markdown as a whole page.

    Parameters
    ----------
    text : str
        HTML, TeX and other formats in it are shown as text.
    title : str
        Of the window.

    Returns
    -------
    str

    Raises
    ------
    InputError
        If pandoc is missing.

    Examples
    --------
    >>> page = as_page("# Results\n\nThe *peak* is at <0.5>.", "Results")
    >>> "<em>peak</em> is at &lt;0.5&gt;" in page
    True
    """
    try:
        import pypandoc  # part of the extra "render"
    except ImportError:
        raise InputError(f"pages need pandoc: pip install {requirements('render')}") from None
    body = pypandoc.convert_text(text, "html", SOURCE, ["--wrap=none"])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">{POLICY}<title>{html_text(title)}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>
<body>{body}</body></html>
"""
