"""Chapters as pages in Markdown (MyST) for Sphinx."""

import html
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from lib.site.blocks import Block, Chapter, Picture, Prose, Table, plain
from lib.site.tables import as_html

PICTURES = "_static/figures"


def write_chapter(chapter: Chapter, source: Path, provenance: str) -> None:
    """The chapter's page and its pictures, below ``source``, with the run's provenance line at its end."""
    path = source / f"{chapter.name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    depth = len(Path(chapter.name).parts) - 1
    body = "\n\n".join(_block(block, source, "../" * depth) for block in chapter.blocks)
    below = f'<p class="provenance">{html.escape(provenance)}</p>'
    path.write_text(f"# {plain(chapter.title)}\n\n{body}\n\n{below}\n", encoding="utf-8")


def _block(block: Block, source: Path, up: str) -> str:
    if isinstance(block, Prose):
        return block.text
    return as_html(block) if isinstance(block, Table) else _picture(block, source, up)


def _picture(block: Picture, source: Path, up: str) -> str:
    """A figure on a white card: in the dark its ink stays black on white. It opens alone, in full size."""
    target = source / PICTURES / f"{block.name}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(block.path, target)
    with Image.open(target) as image:
        width, height = image.size
    label = f"<strong>{html.escape(block.label)}.</strong> " if block.label else ""
    where = f"{up}{PICTURES}/{block.name}.png"
    return (f'<figure class="card">\n<a href="{where}"><img src="{where}" alt="{html.escape(block.alt, quote=True)}" '
            f'width="{width}" height="{height}" loading="lazy"></a>\n'
            f"<figcaption>{label}{html.escape(block.title)}</figcaption>\n</figure>")


def contents(title: str, text: str, pages: Mapping[str, str], path: Path) -> None:
    """A page that lists others: ``pages`` are names beside it, each with its link in Markdown and what stands there."""
    listed, links = "\n".join(pages), "\n".join(f"- {link}" for link in pages.values())
    path.write_text(f"# {plain(title)}\n\n{text}\n\n{links}\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n",
                    encoding="utf-8")


def append_tree(path: Path, trees: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Hidden tables of contents at the end of the first page: they make the navigation. ``trees``: caption, pages."""
    text = "".join(f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"
                   for caption, pages in trees if pages)
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(text)


