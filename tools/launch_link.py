"""Write the links that name the repository, from the one place that does: project.urls in pyproject.toml.

README.md has the one for Binder, docs/teaching.md the one that brings the lessons to a JupyterHub (nbgitpuller), and
CITATION.cff the address itself.
"""

import re
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- launch: [^>]*-->\n).*?(\n<!-- /launch -->)", re.DOTALL)
PULL_BLOCK = re.compile(r"(<!-- pull: [^>]*-->\n).*?(\n<!-- /pull -->)", re.DOTALL)


def owner_and_name(repository: str) -> tuple[str, str]:
    """Take https://github.com/OWNER/NAME apart; .git or a slash may follow."""
    match = re.fullmatch(r"https://github\.com/([\w.-]+)/([\w.-]+?)(\.git)?/?", repository)
    if not match:
        raise ValueError(f"Repository = {repository!r}: allowed is https://github.com/OWNER/NAME")
    return match[1], match[2]


def launch_link(repository: str) -> str:
    """Return where Binder opens the course."""
    owner, name = owner_and_name(repository)
    return f"https://mybinder.org/v2/gh/{owner}/{name}/HEAD?urlpath=lab/tree/notebooks/00_start_here.ipynb"


def pull_link(repository: str, hub: str = "https://HUB", branch: str = "main") -> str:
    """Return the link that copies the repository to whoever follows it on a JupyterHub, and opens the first lesson."""
    owner, name = owner_and_name(repository)
    query = {
        "repo": f"https://github.com/{owner}/{name}",
        "branch": branch,
        "urlpath": f"lab/tree/{name}/notebooks/00_start_here.ipynb",
    }
    return f"{hub}/hub/user-redirect/git-pull?{urlencode(query)}"


def with_link(readme: str, repository: str) -> str:
    """Return README's text with the link in its place."""
    text, count = BLOCK.subn(rf"\g<1>[Launch it on Binder]({launch_link(repository)})\g<2>", readme)
    if count != 1:
        raise ValueError(f"README.md has {count} places for the link, marked <!-- launch: ... --> and <!-- /launch -->")
    return text


def with_pull_link(teaching: str, repository: str) -> str:
    """Return the text for teachers with the link in its place."""
    text, count = PULL_BLOCK.subn(
        lambda match: f"{match[1]}\n```text\n{pull_link(repository)}\n```\n{match[2]}", teaching
    )
    if count != 1:
        raise ValueError(f"docs/teaching.md has {count} places for the link, <!-- pull: ... --> and <!-- /pull -->")
    return text


def with_address(citation: str, repository: str) -> str:
    """Return the citation with the repository's address."""
    owner_and_name(repository)
    text, count = re.subn(r"^(repository-code: ).*$", rf'\g<1>"{repository}"', citation, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"CITATION.cff has {count} lines that begin with repository-code:")
    return text


def main() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    repository = pyproject["project"]["urls"]["Repository"]
    places = {"README.md": with_link, "docs/teaching.md": with_pull_link, "CITATION.cff": with_address}
    try:
        for name, change in places.items():
            path = ROOT / name
            path.write_text(change(path.read_text("utf-8"), repository), "utf-8")
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
