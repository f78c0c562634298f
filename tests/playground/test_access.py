"""For those who see other colours, use no mouse, have a slow network, or come through a proxy's password."""

from __future__ import annotations

from typing import Any

from tests.playground.browsing import visiting
from tests.server import RunningServer

# What is chosen or long, what is not, and the property that tells them apart.
_TOLD_APART = (
    ("#tab-classify", "#tab-map", "backgroundColor"),
    ("#code-Python", "#code-curl", "backgroundColor"),
    ("#classify-pictures [aria-checked=true]", "#classify-pictures [aria-checked=false]", "borderTopColor"),
    ("#bars .bar", "#bars .track", "backgroundColor"),
)


def test_what_is_chosen_and_how_much_is_seen_in_forced_colours(browser: Any, server: RunningServer) -> None:
    with visiting(browser, server.http, forced_colors="active", reduced_motion="reduce") as visit:
        visit.open("#tab=classify")
        visit.expect(visit.page.locator("#bars .value").first).to_be_visible()
        visit.page.locator("#code summary").press("Enter")

        def look(selector: str, name: str) -> str:
            found = visit.page.locator(selector).first
            return str(found.evaluate("(each, name) => getComputedStyle(each)[name]", name))

        for chosen, other, name in _TOLD_APART:
            assert look(chosen, name) != look(other, name), chosen
        # The map draws a text with the one on the other.
        assert look("#canvas", "color") != look("#canvas", "textDecorationColor")
        assert visit.faults == []


def test_the_focus_is_never_lost_and_never_taken(browser: Any, server: RunningServer) -> None:
    held: list[Any] = []
    with visiting(browser, server.http, locale="fr-FR") as visit:
        page, keys = visit.page, visit.page.keyboard
        page.route("**/i18n/fr.js", lambda route: held.append(route))
        with page.expect_request("**/i18n/fr.js"):
            page.goto(f"{visit.origin}/", wait_until="domcontentloaded")
        page.locator("#pick").focus()
        held[0].continue_()
        visit.expect(page.locator("html[data-ready][lang=fr]")).to_be_attached()
        visit.expect(page.locator("#pick")).to_be_focused()
        visits = page.evaluate("() => history.length")
        page.locator(".skip").focus()
        keys.press("Enter")
        visit.expect(page.locator("#main")).to_be_focused()
        assert page.evaluate("() => history.length") == visits
        # As where the page comes over plain http from another machine.
        page.evaluate("() => Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        page.locator("#copy-link").focus()
        keys.press("Enter")
        visit.expect(page.locator("#said")).to_have_text(
            "Le lien est copié. Il contient les textes, pas vos images."
        )
        visit.expect(page.locator("#copy-link")).to_be_focused()
        assert visit.faults == []


def test_a_name_and_password_in_the_address_neither_stop_the_page_nor_are_shown(
    browser: Any, server: RunningServer
) -> None:
    """As where a proxy asks for them."""
    with visiting(browser, server.http) as visit:
        visit.page.goto(f"http://name:secret@{server.http}/#q=1+cat")
        visit.first_is("cat")
        visit.page.locator("#code summary").press("Enter")
        visit.page.get_by_role("tab", name="curl", exact=True).press("Enter")
        code = visit.page.locator("#code-text")
        visit.expect(code).to_contain_text("/v1/similarity")
        assert "secret" not in code.inner_text()
        assert visit.faults == []
