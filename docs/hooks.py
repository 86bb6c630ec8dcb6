"""MkDocs hook: publish the repository's files that pages link to, such as results and sources, beside the pages.

Pages link to them as the repository lays them out, `../../results/ant-sac.json`, so that links also work where the
repository itself is read. On the site such a file stands at the same path below the root.
"""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"(\]\()((?:\.\./)+)([^)#]*)")


def on_files(files, config):
    for page in [file for file in files if file.src_uri.endswith(".md")]:
        for target in outside(page.src_uri, Path(page.abs_src_path).read_text()):
            if target.is_file():
                uri = target.relative_to(ROOT).as_posix()
                if files.get_file_from_path(uri) is None:
                    files.append(File.generated(config, uri, abs_src_path=str(target)))
    return files


def on_page_markdown(markdown, page, config, files):
    depth = page.file.src_uri.count("/")

    def moved(link: re.Match[str]) -> str:
        ups = link[2].count("../")
        return link[1] + ("../" * (ups - 1) if ups > depth else link[2]) + link[3]

    return _LINK.sub(moved, markdown)


def outside(page: str, text: str) -> list[Path]:
    """Return the files outside docs/ that a page links to."""
    folder = (ROOT / "docs" / page).parent
    depth = page.count("/")
    links = [link[2] + link[3] for link in _LINK.finditer(text) if link[2].count("../") > depth]
    return [(folder / link).resolve() for link in links]
