"""Debian's Chromium for tests of pages, through Playwright; without one on this machine those tests are skipped.

A page that asks any host for anything fails its test: requests that are no files of this disk are refused and noted.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CANDIDATES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OF_THIS_DISK = ("file:", "data:", "blob:", "about:")


def executable() -> str | None:
    """The browser's path, or None where there is none."""
    return next((path for name in CANDIDATES if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser; skips the test where there is none."""
    path = executable()
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(CANDIDATES)} is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, and what went wrong on it."""

    def __init__(self, browser: Browser, width: int = 1280, scheme: str = "light", allowed: tuple[str, ...] = OF_THIS_DISK):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []

        def decide(route):
            if route.request.url.startswith(allowed):
                route.continue_()
            else:
                self.problems.append(f"asks {route.request.url}")
                route.abort()

        self.page.route("**/*", decide)
        self.page.on("console", lambda each: self._note(each.text) if each.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.on("requestfailed", lambda request: self._note(f"not there: {request.url}"))

    def _note(self, text: str) -> None:
        self.problems.append(text)

    def open(self, path: Path, fragment: str = "") -> Page:
        """Go to a file of this disk and wait until its formulas are drawn."""
        self.page.goto(path.as_uri() + fragment)
        self.page.evaluate("window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => true) : true")
        return self.page

    def close(self) -> None:
        """Let the page go."""
        self.context.close()
