"""JupyterLab in a browser: a server of its own, and what a learner does with a notebook in it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat

WIDE, NARROW = (1280, 1600), (400, 900)
SETTINGS = {  # JupyterLab would ask its makers for news, which is a request that leaves the machine
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}
}
KERNEL_READY = """async () => {
  await window.jupyterapp.restored;
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
}"""
KERNEL_IDLE = """() => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel;
  return kernel && kernel.connectionStatus === "connected" && kernel.status === "idle";
}"""
RUN_ALL = """() => {
  window.__done = null;
  window.jupyterapp.commands.execute("notebook:run-all-cells")
    .then((ok) => (window.__done = String(ok)), (error) => (window.__done = "ERR " + error));
}"""
CELL_ERRORS = """() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells
  .filter((cell) => cell.cell_type === "code")
  .flatMap((cell) => cell.toJSON().outputs)
  .filter((output) => output.output_type === "error")
  .map((output) => `${output.ename}: ${output.evalue}`)"""


class Server:
    """A running JupyterLab. `root` is its folder, `progress_file` what COURSE_PROGRESS names in its kernels."""

    def __init__(self, folder: Path):
        self.root, self.progress_file = folder / "root", folder / "progress.json"
        self.root.mkdir()
        for name, value in SETTINGS.items():
            path = folder / "settings" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "server.log"
        places = {
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTER_DATA_DIR": "data",
            "IPYTHONDIR": "ipython",
        }
        environment = {**os.environ, **{name: str(folder / place) for name, place in places.items()}}
        environment |= {"COURSE_PROGRESS": str(self.progress_file), "COURSE_DEVICE": "cpu"}
        environment["JUPYTER_PREFER_ENV_PATH"] = "1"  # this Python's kernel, whatever the user has installed
        environment.pop("COURSE_BUILD", None)
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--expose-app-in-browser", "--allow-root"]
        command += [f"--port={port}", "--ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.password="]
        command += ["--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={self.root}"]
        with self.log.open("wb") as log:
            self.server = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=self.root
            )
        for _ in range(600):
            with contextlib.suppress(OSError):
                self.api("status")
                return
            if self.server.poll() is not None:
                break
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text(errors='replace')[-3000:]}")

    def api(self, path: str, method: str = "GET"):
        request = urllib.request.Request(f"{self.url}/api/{path}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or "null")

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.server.pid, signal.SIGTERM)
        try:
            self.server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait(20)

    def shut_kernels(self):
        for session in self.api("sessions"):
            with contextlib.suppress(urllib.error.HTTPError):
                self.api(f"sessions/{session['id']}", "DELETE")


class Classroom:
    """One test's view of JupyterLab: opens notebooks, runs them, restarts their kernels."""

    def __init__(self, server: Server, new_page):
        self.server, self.new_page = server, new_page
        self.root, self.progress_file = server.root, server.progress_file

    def write_notebook(self, cells, name: str) -> Path:
        """Write code cells (or nbformat cells, for text) as `root/NAME.ipynb`."""
        made = [nbformat.v4.new_code_cell(cell) if isinstance(cell, str) else cell.copy() for cell in cells]
        for place, cell in enumerate(made):
            cell.id = f"cell-{place}"  # the same cell may be given twice
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = self.root / f"{name}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel}), path)
        return path

    def open_notebook(self, cells, *, name="lesson", **options):
        """Write the cells as a notebook, open it, run all, and return the page once the kernel is idle.

        Options are those of `open_file`.
        """
        return self.open_file(self.write_notebook(cells, name), **options)

    def open_file(self, path: Path, *, viewport=WIDE, theme="light", run=True, allow_errors=False, **context):
        """Open a notebook that lies under `root`, run all unless `run=False`, and return the page.

        `theme` is "light" or "dark"; `viewport` is (width, height) in pixels; other options go to the browser's context
        (`reduced_motion="reduce"`, `color_scheme="dark"`). A cell that raises fails the test, unless `allow_errors`.
        """
        page = self.new_page(viewport=viewport, local=(self.server.url,), **context)
        address = f"{self.server.url}/lab/tree/{path.relative_to(self.root).as_posix()}?reset"
        page.goto(address, wait_until="domcontentloaded")
        self.wait_ready(page)
        self.change_theme(page, theme)
        if viewport[0] < 700:  # the file browser would leave no room for the notebook
            page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
        if run:
            self.run_all(page, allow_errors=allow_errors)
        return page

    def wait_ready(self, page):
        """Wait until the notebook is open and its kernel connected and idle. The idle light alone would be a race."""
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        page.wait_for_function("() => window.jupyterapp !== undefined")
        page.evaluate(KERNEL_READY)
        self.wait_idle(page)

    def wait_idle(self, page, timeout=60_000):
        page.wait_for_function(KERNEL_IDLE, timeout=timeout)

    def run_all(self, page, *, allow_errors=False, timeout=180_000):
        page.evaluate(RUN_ALL)
        page.wait_for_function("() => window.__done !== null", timeout=timeout)
        self.wait_idle(page)
        assert not page.evaluate("() => window.__done").startswith("ERR"), page.evaluate("() => window.__done")
        if not allow_errors:
            assert page.evaluate(CELL_ERRORS) == [], "a cell raised"

    def run_cell(self, page, index: int, *, allow_errors=False):
        """Run the cell with this index (text cells count too)."""
        page.evaluate(
            """async (index) => {
              const notebook = window.jupyterapp.shell.currentWidget.content;
              notebook.activeCellIndex = index;
              notebook.deselectAll();
              await window.jupyterapp.commands.execute("notebook:run-cell");
            }""",
            index,
        )
        self.wait_idle(page)
        if not allow_errors:
            assert page.evaluate(CELL_ERRORS) == [], "a cell raised"

    def start_cell(self, page, index: int):
        """Run a cell and do not wait for its end."""
        page.evaluate(
            """(index) => {
              const notebook = window.jupyterapp.shell.currentWidget.content;
              notebook.activeCellIndex = index;
              notebook.deselectAll();
              void window.jupyterapp.commands.execute("notebook:run-cell");
            }""",
            index,
        )

    def outputs(self, page, index: int) -> list[dict]:
        """Return what a cell has put out, as a notebook file has it."""
        return page.evaluate(
            """(index) => {
              const cell = window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells[index];
              return cell.toJSON().outputs;
            }""",
            index,
        )

    def restart_kernel(self, page):
        """Restart the kernel as the learner's menu does, without its question. Outputs stay, widgets go dead."""
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
        self.wait_idle(page)

    def save(self, page):
        page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def reload(self, page):
        """Save, then load the page anew, as a learner's F5 does. The kernel lives on; cells are not run again."""
        self.save(page)
        page.reload(wait_until="domcontentloaded")
        self.wait_ready(page)

    def change_theme(self, page, theme: str):
        names = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
        page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", names[theme])
        page.wait_for_selector(f'body[data-jp-theme-light="{str(theme == "light").lower()}"]', state="attached")
        page.wait_for_selector("#jupyterlab-splash", state="detached")  # shown again meanwhile; it would cover the page
