"""The harness notices what it promises to notice; otherwise every other browser test could pass for nothing."""

from pathlib import Path

import pytest


def test_errors_and_outside_requests_are_collected(new_page):
    page = new_page()
    page.set_content("<p>blank</p>")
    page.evaluate("() => { console.error('logged'); setTimeout(() => { throw new Error('thrown'); }); }")
    page.route("http://192.0.2.1/**", lambda route: route.abort())
    page.evaluate("() => fetch('http://192.0.2.1/news').catch(() => null)")
    page.wait_for_timeout(50)
    assert "logged" in page.errors
    assert any("thrown" in error for error in page.errors)
    assert page.outside == {"http://192.0.2.1/news"}
    page.errors.clear()
    page.outside.clear()


def test_a_cell_that_raises_fails_the_test(lab):
    with pytest.raises(AssertionError, match="a cell raised"):
        lab.open_notebook(["1 / 0"])


def test_progress_and_device_of_the_kernels(lab, expect):
    page = lab.open_notebook(["import os\nprint(os.environ['COURSE_DEVICE'], os.environ['COURSE_PROGRESS'])"])
    expect(page.locator(".jp-OutputArea-output").first).to_have_text(f"cpu {lab.progress_file}\n")
    assert not lab.progress_file.exists()


def test_a_missing_browser_skips_or_fails_as_asked(request, monkeypatch):
    harness = request.config.pluginmanager.get_plugin(str(Path(__file__).parent / "conftest.py"))
    monkeypatch.setenv("COURSE_CHROMIUM", "/no/such/browser")
    monkeypatch.delenv("COURSE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="is no file"):
        harness.chromium_path()
    monkeypatch.setenv("COURSE_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match="asks for the browser tests"):
        harness.chromium_path()
