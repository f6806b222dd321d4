"""Write the styles of the Word version: `python reports/word_styles.py` makes reference.docx.

The file is pandoc's own reference document with the paper's page, sizes and rules. It is committed,
since Quarto reads it as it is.
"""

from __future__ import annotations

import io
import re
import subprocess
import zipfile
from pathlib import Path

import pypandoc

TARGET = Path(__file__).with_name("reference.docx")
INK, SOFT = "1D2129", "5B6472"
#: Size in half points and color of a style, where pandoc's differ.
FONTS = {
    "Normal": (21, INK),
    "Title": (38, INK),
    "Subtitle": (24, SOFT),
    "Author": (21, SOFT),
    "Compact": (16, INK),  # the cells of tables
    "Heading1": (28, INK),
    "Heading2": (24, INK),
    "Caption": (18, SOFT),
}
#: A4 with the paper's margins, in twentieths of a point.
PAGE = (
    '<w:pgSz w:w="11906" w:h="16838"/>'
    '<w:pgMar w:top="1361" w:right="1361" w:bottom="1361" w:left="1361" '
    'w:header="708" w:footer="708" w:gutter="0"/>'
)
RULES = "".join(f'<w:{side} w:val="single" w:sz="8" w:space="0"/>' for side in ("top", "bottom"))


def reference() -> bytes:
    """Return pandoc's reference.docx with the styles and the page of the paper."""
    command = [pypandoc.get_pandoc_path(), "--print-default-data-file", "reference.docx"]
    done = subprocess.run(command, capture_output=True, check=True)
    out = io.BytesIO()
    changes = {"word/styles.xml": with_styles, "word/document.xml": with_page}
    with (
        zipfile.ZipFile(io.BytesIO(done.stdout)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name in changes:
                content = changes[name](content.decode()).encode()
            new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def with_styles(xml: str) -> str:
    """Set sizes, colors and the rules of tables."""
    for name, (size, color) in FONTS.items():
        look = f'<w:color w:val="{color}"/><w:sz w:val="{size}"/><w:szCs w:val="{size}"/>'
        xml = changed(xml, name, look)
    head = '<w:tblStylePr w:type="firstRow">'
    xml = xml.replace(head, f"{head}<w:rPr><w:b/></w:rPr>")
    xml = xml.replace('w:w="108" w:type="dxa"', 'w:w="50" w:type="dxa"')  # margins of cells
    return xml.replace(
        '<w:tblInd w:w="0" w:type="dxa" />',
        f'<w:tblInd w:w="0" w:type="dxa"/><w:tblBorders>{RULES}</w:tblBorders>',
    )


def changed(xml: str, name: str, look: str) -> str:
    """Return the styles with a style's color and size; its slant and others' are dropped."""
    found = re.search(rf'<w:style [^>]*w:styleId="{name}">.*?</w:style>', xml, re.DOTALL)
    if found is None:
        raise LookupError(f"pandoc's reference.docx has no style {name}")
    style = re.sub(r"\s*<w:(color|sz|szCs|i) ?[^>]*/>", "", found[0])
    if "<w:rPr>" in style:
        style = style.replace("</w:rPr>", f"{look}</w:rPr>")
    else:
        style = style.replace("</w:style>", f"<w:rPr>{look}</w:rPr></w:style>")
    return xml.replace(found[0], style)


def with_page(xml: str) -> str:
    """Set the size and margins of the page."""
    return xml.replace("</w:sectPr>", f"{PAGE}</w:sectPr>")


if __name__ == "__main__":
    TARGET.write_bytes(reference())
