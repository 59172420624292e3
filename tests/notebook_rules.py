"""What every built notebook keeps to. A rule takes a notebook and yields its problems in words."""

import ast
import re

MAX_BYTES, MAX_CODE_CELLS, MAX_LINES, MIN_CHECKED, MIN_WORDS = 500_000, 30, 15, 2, 20
CHECKED, RAISES = "nbval-check-output", "raises-exception"
SHELL = re.compile(r"^\s*(!|%%?\s*(pip|conda|mamba|uv|bash|sh|script|sx|system)\b)")
REACHES_OUT = (
    "pip install",
    "conda install",
    "torch.hub",
    "from_pretrained(",
    "load_dataset(",
    "os.system(",
    "get_ipython(",
)
MODULES = {"aiohttp", "ftplib", "http", "httpx", "huggingface_hub", "requests", "socket", "subprocess", "urllib", "pip"}
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")
DRAWN = re.compile(r"<(img|svg)\b[^>]*>", re.IGNORECASE)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)[^)]*\)")


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def no_widget_state(notebook):
    """Code hosts refuse to draw a notebook with it."""
    if "widgets" in notebook.metadata:
        yield "metadata.widgets is there"
    for cell in code_cells(notebook):
        if any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in cell.outputs):
            yield f"{cell.id}: a widget's view is saved, which is dead without its kernel"


def run_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts are {counts}, not 1 to {len(counts)}"


def has_description(outputs, place):
    """The rule: the picture's own output carries words, or the next output is a line of Markdown."""
    words = "".join(outputs[place].data.get("text/plain", ""))
    if len(words) > MIN_WORDS and not re.search(r"^<.*>$|Figure\(", words.strip(), re.DOTALL):
        return True
    following = outputs[place + 1] if place + 1 < len(outputs) else {}
    return len("".join(following.get("data", {}).get("text/markdown", "")).strip()) > MIN_WORDS


def bare_drawings(html):
    """Pictures in HTML that neither have an alt text (an empty one says: nothing to be told) nor are hidden."""
    for found in DRAWN.finditer(html):
        attribute = r"\salt\s*=" if found[1].lower() == "img" else r"\saria-(label|labelledby|hidden)\s*="
        if not re.search(attribute, found[0], re.IGNORECASE):
            yield found[0][:60]


def pictures_described(notebook):
    for cell in code_cells(notebook):
        told = False
        for place, output in enumerate(cell.outputs):
            data = output.get("data", {})
            if any(mime.startswith("image/") for mime in data):
                told = has_description(cell.outputs, place)
                if not told:
                    yield f"{cell.id}: a picture without its line of description"
            if any("plotly" in mime for mime in data) and not told:
                yield f"{cell.id}: a plot to hover over, and no described picture of the same before it"
            for bare in bare_drawings("".join(data.get("text/html", ""))):
                yield f"{cell.id}: {bare} without a description"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for bare in bare_drawings(cell.source):
                yield f"{cell.id}: {bare} without a description"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for mark, words, target in LINK.findall(cell.source):
                if mark and len(words) <= MIN_WORDS:
                    yield f"{cell.id}: the picture {target} without a description"


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def offline(notebook):
    """No cell installs anything, runs a shell, or asks another machine."""
    for cell in code_cells(notebook):
        lines = cell.source.splitlines()
        if shell := [line for line in lines if SHELL.match(line)]:
            yield f"{cell.id}: runs a shell or installs: {shell[0]}"
        for part in REACHES_OUT:
            if part in cell.source:
                yield f"{cell.id}: {part}"
        if found := re.search(r"\b(https?|ftp|wss?)://\S+", cell.source):
            yield f"{cell.id}: names the address {found[0]}"
        try:
            tree = ast.parse("\n".join(line for line in lines if not line.lstrip().startswith(("!", "%"))))
        except SyntaxError as error:
            yield f"{cell.id}: is not Python: {error}"
            continue
        for module in imported(tree):
            if module.split(".")[0] in MODULES and module != "urllib.parse":
                yield f"{cell.id}: imports {module}"


def short_cells(notebook):
    if len(code_cells(notebook)) > MAX_CODE_CELLS:
        yield f"{len(code_cells(notebook))} code cells, more than {MAX_CODE_CELLS}"
    for cell in code_cells(notebook):
        lines = sum(bool(line.strip()) for line in cell.source.splitlines())
        if lines > MAX_LINES and not str(cell.metadata.get("reason", "")).strip():
            yield f"{cell.id}: {lines} lines of code, more than {MAX_LINES}, without a reason"
        if not lines:
            yield f"{cell.id}: an empty cell"


def checked_cells(notebook):
    """At least two cells are compared when the notebook is tested, and a compared cell has something to compare."""
    marked = [cell for cell in code_cells(notebook) if CHECKED in tags(cell)]
    if len(marked) < MIN_CHECKED:
        yield f"{len(marked)} checked cells, fewer than {MIN_CHECKED}"
    for cell in marked:
        kinds = {kind for output in cell.outputs for kind in output.get("data", {output.output_type: ""})}
        if not kinds - {"image/png", "image/jpeg"}:
            yield f"{cell.id}: is marked as checked, and has no output to compare"


def prints_are_checked(notebook):
    """What a cell prints is compared, but for the line about the device, and what `unchecked: why` excuses."""
    for cell in code_cells(notebook)[1:]:
        prints = any(output.output_type == "stream" and output.name == "stdout" for output in cell.outputs)
        if prints and CHECKED not in tags(cell) and not str(cell.metadata.get("unchecked", "")).strip():
            yield f"{cell.id}: prints, and is not compared: tag it {CHECKED}, or say why not (:unchecked: ...)"


def begins_with_imports(notebook):
    """The first code cell holds imports and says the device, and nothing else."""
    cells = code_cells(notebook)
    try:
        statements = ast.parse(cells[0].source).body if cells else []
    except SyntaxError:
        statements = []
    rest = [node for node in statements if not isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.id.lower() for part in rest for node in ast.walk(part) if isinstance(node, ast.Name)}
    if len(rest) == len(statements) or len(rest) != 1 or "device" not in names:
        yield "the first code cell is not: imports, then one line about the device"


def clean_outputs(notebook):
    """No warnings, no errors that are not meant, no addresses in memory, no folders of the machine that built it."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            text = "\n".join(
                "".join(value)
                for mime, value in [*output.get("data", {}).items(), *output.items()]
                if mime in {"text", "text/plain", "text/html", "text/markdown", "traceback", "evalue"}
            )
            if output.output_type == "stream" and output.name == "stderr":
                yield f"{cell.id}: wrote to stderr: {text.strip()[:80]}"
            if output.output_type == "error" and RAISES not in tags(cell):
                yield f"{cell.id}: raised {output.ename}"
            if found := ADDRESS.search(text):
                yield f"{cell.id}: an address in memory, {found[0]}"
            if found := re.search(r"(?<![\w.])/(home|Users|root|tmp|work|usr|opt)/[\w./-]*", text):
                yield f"{cell.id}: a folder of the machine that built it, {found[0]}"


RULES = (
    no_widget_state,
    run_in_order,
    pictures_described,
    offline,
    short_cells,
    checked_cells,
    prints_are_checked,
    begins_with_imports,
    clean_outputs,
)


def problems(notebook) -> list[str]:
    return [f"{rule.__name__}: {problem}" for rule in RULES for problem in rule(notebook)]


def dead_links(notebook, folder):
    """Links of text cells that lead to no file."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for _, _, target in LINK.findall(cell.source):
                path = target.split("#")[0]
                if path and not re.match(r"[a-z]+:", target) and not (folder / path).is_file():
                    yield f"{cell.id}: {target} leads nowhere"
