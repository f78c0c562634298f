"""A page of the playground in Chromium, and what people do with it."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.overlays import imported

__all__ = ["PICTURES", "Visit", "chromium", "drop", "meddle", "visiting"]

PICTURES = Path(__file__).parents[2] / "service/frontend/http/playground/page/pictures"
SECONDS = 60.0
OPTIONS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update")

_TRANSFER = """async ([kind, files]) => {
  const transfer = new DataTransfer();
  for (const [name, type, content] of files) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type }));
  }
  const event = kind === "drop"
    ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
    : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""

# The page's requests pass here. `asked` keeps what it posts; `answer` may give a Response of its own, or ask
# the server (`go`) and change what it says. Within the page, so that a test decides what comes first. What
# the page stops has ended, whatever `answer` waits for.
_MEDDLE = """(() => {
  const real = window.fetch;
  window.asked = [];
  window.answer = ANSWER;
  window.fetch = async (address, options = {}) => {
    const { pathname } = new URL(address);
    const body = options.body ? JSON.parse(options.body) : null;
    if (body) window.asked.push({ path: pathname, ...body });
    const go = () => real(address, options);
    const answered = async () => (await window.answer({ path: pathname, body, go })) ?? go();
    const stopped = new Promise((_, fail) => {
      options.signal?.addEventListener("abort", () => fail(options.signal.reason));
    });
    return Promise.race([answered(), stopped]);
  };
})();"""
_LOOK = """async () => {
  const { look } = await import("/playground/js/live.js");
  const late = new Promise((_, give) => setTimeout(() => give(new Error("still looking")), 60_000));
  await Promise.race([look(), late]);
}"""


@contextmanager
def chromium() -> Iterator[Any]:
    """The system's Chromium under Playwright. Skips the test where either is missing."""
    api = imported("browser", "playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed: run `make tools`")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*OPTIONS])
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """One visitor: a page in a context of its own. strangers: addresses asked for outside the origin.

    What stands below the ranking is pressed with a key: while cards come, it moves away under a mouse's
    button, and a press that ends beside it is no click.
    """

    def __init__(self, context: Any, origin: str) -> None:
        self.origin = origin
        self.strangers: list[str] = []
        self.faults: list[str] = []
        self.page = context.new_page()
        self.page.set_default_timeout(SECONDS * 1000)
        self.page.on("request", self._asked)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.expect = imported("browser", "playwright.sync_api").expect
        self.expect.set_options(timeout=SECONDS * 1000)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.origin, "blob:", "data:")):
            self.strangers.append(request.url)

    def open(self, fragment: str = "", *, embedded: bool = True) -> None:
        """Opens the page, and waits until its pictures are embedded."""
        self.page.goto(f"{self.origin}/{fragment}")
        self.expect(self.page.locator("html[data-ready]")).to_be_attached()
        if embedded:
            self.expect(self.page.locator("#progress:empty")).to_be_attached()

    def search(self, text: str) -> None:
        self.page.locator("#part-0").fill(text)

    def first_is(self, name: str) -> None:
        """The picture that ranks first."""
        self.expect(self.page.locator(".card.first .name bdi")).to_have_text(name)

    def tab(self, name: str) -> None:
        self.page.locator(f"#tab-{name}").click()

    def look(self) -> None:
        """Lets the page ask the server how it is, and act on the answer."""
        self.page.evaluate(_LOOK)

    def asked(self, path: str = "/v1/embeddings") -> list[dict[str, Any]]:
        """What the page has posted there, the bodies; only of a page that `meddle` prepared."""
        return [each for each in self.page.evaluate("() => window.asked") if each["path"] == path]

    def set(self, name: str, value: Any) -> None:
        """A global variable of the page, for what `meddle` put into it."""
        self.page.evaluate("([name, value]) => { window[name] = value; }", [name, value])

    def no_alert_is_left(self) -> None:
        """What went wrong works again."""
        self.expect(self.page.locator("#alerts .alert")).to_have_count(0)

    def says(self, words: str | re.Pattern[str]) -> None:
        """The message above the page."""
        self.expect(self.page.locator("#alerts")).to_contain_text(words)


@contextmanager
def visiting(browser: Any, http: str, **options: Any) -> Iterator[Visit]:
    """A visit in English, unless told otherwise. Colours change at once, so that none is seen on its way."""
    context = browser.new_context(**{"locale": "en-US", "reduced_motion": "reduce", **options})
    try:
        yield Visit(context, f"http://{http}")
    finally:
        context.close()


def meddle(visit: Visit, answer: str) -> None:
    """Before the page is opened. answer: JavaScript, a function of {path, body, go}, see above."""
    visit.page.add_init_script(_MEDDLE.replace("ANSWER", answer))


def drop(visit: Visit, *files: tuple[str, str, bytes], kind: str = "drop") -> None:
    """Drops or pastes files of a name, a type and a content."""
    given = [[name, media, base64.b64encode(content).decode()] for name, media, content in files]
    visit.page.evaluate(_TRANSFER, [kind, given])
