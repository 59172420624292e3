"""Write the Binder link of README.md from the one place that names the repository: project.urls in pyproject.toml."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- launch: [^>]*-->\n).*?(\n<!-- /launch -->)", re.DOTALL)


def launch_link(repository: str) -> str:
    """Return where Binder opens the course, from https://github.com/OWNER/NAME; .git or a slash may follow."""
    match = re.fullmatch(r"https://github\.com/([\w.-]+)/([\w.-]+?)(\.git)?/?", repository)
    if not match:
        raise ValueError(f"Repository = {repository!r}: allowed is https://github.com/OWNER/NAME")
    owner, name = match[1], match[2]
    return f"https://mybinder.org/v2/gh/{owner}/{name}/HEAD?urlpath=lab/tree/notebooks/00_start_here.ipynb"


def with_link(readme: str, repository: str) -> str:
    """Return README's text with the link in its place."""
    text, count = BLOCK.subn(rf"\g<1>[Launch it on Binder]({launch_link(repository)})\g<2>", readme)
    if count != 1:
        raise ValueError(f"README.md has {count} places for the link, marked <!-- launch: ... --> and <!-- /launch -->")
    return text


def main() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    path = ROOT / "README.md"
    try:
        path.write_text(with_link(path.read_text("utf-8"), pyproject["project"]["urls"]["Repository"]), "utf-8")
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
