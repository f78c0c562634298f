"""Several models, keys for some of them, and weights that change while the page is open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from service.config.keys import line_of
from tests.playground.browsing import Visit, meddle, visiting
from tests.server import RunningServer, start_server

MODELS = ("--model", "a=stub:dimension=8", "--model", "b=stub:dimension=16")
SCORE = re.compile(r"\d")
NOTHING = "() => undefined"
TWO_MODELS = """async ({ path, body, go }) => {
  if (body && window.down) {
    return Response.json({ error: { message: "no" } }, { status: 503, headers: { "retry-after": "60" } });
  }
  if (!path.endsWith("/playground/status")) return undefined;
  const status = await (await go()).json();
  status.models[0].ready = !window.down;
  status.models.push({ ...status.models[0], name: "other", ready: false });
  return Response.json({ ...status, ready: false });
}"""
TWO_LABELS = """async ({ path, go }) => {
  if (!path.endsWith("/playground/status")) return undefined;
  const status = await (await go()).json();
  status.models[0].max_labels = 2;
  return Response.json(status);
}"""
OTHER_REVISION = """async ({ path, go }) => {
  if (!path.endsWith("/playground/status") || window.revision === undefined) return undefined;
  const status = await (await go()).json();
  status.models[0].revision = window.revision;
  return Response.json(status);
}"""
WITHOUT_B = """async ({ path, go }) => {
  if (!path.endsWith("/playground/status") || !window.gone) return undefined;
  const status = await (await go()).json();
  return Response.json({ ...status, models: status.models.filter((model) => model.name !== "b") });
}"""
HELD = """async ({ body, go }) => {
  if (body?.model !== "a" || body.input?.[0].text !== "zebra") return undefined;
  const made = await go();
  await new Promise((release) => { window.release = release; });
  return made;
}"""
HELD_FOR = """async ({ body }) => {
  while (body && body.model === window.held) await new Promise((go) => setTimeout(go, 5));
}"""
LATE_FAILURE = """async ({ path }) => {
  if (!path.endsWith("/playground/status") || !window.late) return undefined;
  await new Promise((release) => { window.release = release; });
  return Response.json({ error: { message: "no" } }, { status: 500 });
}"""
LOOK_TWICE = """async () => {
  const { look } = await import("/playground/js/live.js");
  window.late = true;
  const first = look();
  window.late = false;
  await look();
  window.release();
  await first;
  return document.querySelector(".health").className;
}"""
PREFERRED = """async (tag) => {
  Object.defineProperty(navigator, "languages", { value: [tag], configurable: true });
  localStorage.clear();
  return (await import("/playground/js/i18n.js")).preferredLanguage();
}"""
# That the server is back, which makes the page ask everything again.
COUNT_RETURNS = """async () => {
  window.returns = 0;
  (await import("/playground/js/state.js")).on("server", () => { window.returns += 1; });
}"""
SWITCH_AND_ANSWER = """() => {
  const select = document.querySelector("#model select");
  select.value = "b";
  select.dispatchEvent(new Event("change"));
  window.release();
}"""


@pytest.fixture(scope="module")
def keyed(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Two models, and two keys: one for both, one for the second."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    lines = (line_of("everyone", "both-models"), line_of("visitor", "only-b", ("models=b",)))
    keys.write_text("\n".join(lines))
    with start_server(*MODELS, "--api-keys", str(keys)) as server:
        yield server


@pytest.fixture
def guest(browser: Any, keyed: RunningServer) -> Iterator[Visit]:
    """A fresh visitor of it."""
    with visiting(browser, keyed.http) as visit:
        yield visit
        assert visit.faults == []


def sign_in(visit: Visit, key: str, fragment: str = "") -> None:
    visit.open(fragment, embedded=False)
    visit.page.locator("#key").fill(key)
    visit.page.keyboard.press("Enter")
    visit.expect(visit.page.locator("#key-dialog")).to_be_hidden()
    all_are_ready(visit)


def all_are_ready(visit: Visit) -> None:
    visit.expect(visit.page.locator("#progress:empty")).to_be_attached()


def model_is(visit: Visit, name: str) -> None:
    visit.expect(visit.page.locator("#model")).to_contain_text(f"“{name}” answers")


def test_a_key_for_one_model_is_answered_by_that_model(guest: Visit) -> None:
    meddle(guest, NOTHING)
    sign_in(guest, "only-b", "#tab=classify")
    guest.expect(guest.page.locator("#bars .value").first).to_be_visible()
    model_is(guest, "b")
    guest.tab("search")
    guest.search("cat")
    guest.expect(guest.page.locator(".card.first .score")).to_have_text(SCORE)
    guest.no_alert_is_left()
    assert {each["model"] for each in [*guest.asked(), *guest.asked("/v1/classify")]} == {"b"}


def test_not_now_is_heeded_until_the_visitor_wants_to_give_a_key(guest: Visit) -> None:
    guest.open(embedded=False)
    dialog, key = guest.page.locator("#key-dialog"), guest.page.locator("#key")
    guest.page.get_by_role("button", name="Not now").click()
    guest.says("The server answers only with an API key.")
    guest.search("cat")
    guest.look()
    guest.look()
    guest.expect(dialog).to_be_hidden()
    guest.expect(guest.page.locator("#part-0")).to_have_value("cat")
    guest.page.get_by_role("button", name="Enter a key").click()
    for never in ("two words", "schlüssel"):
        key.fill(never)
        guest.page.keyboard.press("Enter")
        guest.expect(guest.page.locator("#key-wrong")).to_contain_text("does not know this key")
        guest.expect(dialog).to_be_visible()
    key.fill("both-models")
    guest.page.keyboard.press("Enter")
    guest.expect(dialog).to_be_hidden()
    all_are_ready(guest)
    guest.no_alert_is_left()


def test_a_model_that_never_loads_leaves_the_other_alone(visit: Visit) -> None:
    meddle(visit, TWO_MODELS)
    visit.open("#q=1+cat")
    visit.first_is("cat")
    visit.expect(visit.page.locator(".health.ready")).to_be_visible()
    visit.page.evaluate(COUNT_RETURNS)
    visit.look()
    visit.look()
    assert visit.page.evaluate("() => window.returns") == 0


def test_a_model_that_is_ready_goes_on_though_another_never_is(visit: Visit) -> None:
    meddle(visit, TWO_MODELS)
    visit.page.add_init_script("window.down = true;")
    visit.open("#q=1+cat", embedded=False)
    visit.says("The server is stopping or starting.")
    visit.expect(visit.page.locator(".health.starting")).to_be_visible()
    visit.set("down", False)
    visit.look()
    visit.expect(visit.page.locator(".health.ready")).to_be_visible()
    all_are_ready(visit)
    visit.first_is("cat")
    visit.no_alert_is_left()


def test_a_chosen_model_that_the_server_no_longer_has_is_left(guest: Visit) -> None:
    meddle(guest, WITHOUT_B)
    sign_in(guest, "both-models")
    guest.page.locator("#model select").select_option("b")
    model_is(guest, "b")
    all_are_ready(guest)
    guest.set("gone", True)
    guest.look()
    model_is(guest, "a")
    all_are_ready(guest)
    guest.search("cat")
    guest.expect(guest.page.locator(".card.first .score")).to_have_text(SCORE)
    assert guest.asked()[-1]["model"] == "a"
    guest.no_alert_is_left()


def images(visit: Visit) -> int:
    """How many pictures the page has sent."""
    return sum("image" in item for each in visit.asked() for item in each["input"])


def test_pictures_are_embedded_anew_for_other_weights_and_not_for_a_restart(visit: Visit) -> None:
    meddle(visit, OTHER_REVISION)
    visit.page.add_init_script("window.revision = 'of the first weights';")
    visit.open("#q=1+cat")
    visit.first_is("cat")
    for told in ("", "of the first weights"):  # a server that starts does not know it yet
        visit.set("revision", told)
        visit.look()
    visit.search("rocket")
    visit.first_is("rocket")
    assert images(visit) == 50
    visit.set("revision", "of others")
    visit.look()
    all_are_ready(visit)
    visit.first_is("rocket")
    assert images(visit) == 100


def test_an_answer_of_the_former_model_is_not_taken_for_the_new_one_s(guest: Visit) -> None:
    meddle(guest, HELD)
    sign_in(guest, "both-models")
    guest.search("zebra")
    guest.page.wait_for_function("() => window.release")
    guest.page.evaluate(SWITCH_AND_ANSWER)
    model_is(guest, "b")
    all_are_ready(guest)
    # One of the other model has another length: no picture would be ranked by it.
    guest.expect(guest.page.locator(".card.first .score")).to_have_text(SCORE)
    guest.no_alert_is_left()


def test_what_one_model_found_does_not_stand_beside_another(guest: Visit) -> None:
    meddle(guest, HELD_FOR)
    sign_in(guest, "both-models", "#tab=compare&texts=zebra%0Ahorse")
    guest.expect(guest.page.locator("#heatmap tbody tr")).to_have_count(2)
    guest.tab("classify")
    guest.expect(guest.page.locator("#bars .value").first).to_be_visible()
    guest.set("held", "b")
    guest.page.locator("#model select").select_option("b")
    guest.expect(guest.page.locator("#bars")).to_be_empty()
    guest.tab("compare")
    guest.expect(guest.page.locator("#heatmap")).to_be_empty()
    guest.page.locator("#download").press("Enter")
    guest.expect(guest.page.locator("#said")).to_have_text("There is no result yet.")
    # And what is still under way does not hold up the other one.
    guest.page.locator("#model select").select_option("a")
    all_are_ready(guest)
    guest.expect(guest.page.locator("#heatmap tbody tr")).to_have_count(2)


def test_labels_that_are_too_many_for_the_model_are_told(visit: Visit) -> None:
    meddle(visit, TWO_LABELS)
    visit.open("#tab=classify&labels=pencil%0Acandle%0Atower")
    visit.expect(visit.page.locator("#bars li")).to_have_count(3)
    visit.expect(visit.page.locator("#bars .label")).to_have_count(2)
    visit.expect(visit.page.locator("#bars li").last).to_have_text("Only the first 2 lines are shown.")


def test_of_two_looks_at_the_server_the_later_one_counts(visit: Visit) -> None:
    meddle(visit, LATE_FAILURE)
    visit.open()
    assert visit.page.evaluate(LOOK_TWICE) == "health ready"
    visit.no_alert_is_left()


def test_of_two_languages_the_one_chosen_last_is_shown(visit: Visit) -> None:
    held: list[Any] = []
    visit.page.route("**/i18n/fr.js", lambda route: held.append(route))
    visit.open()
    with visit.page.expect_request("**/i18n/fr.js"):
        visit.page.locator("#language").select_option("fr")
    visit.page.locator("#language").select_option("es")
    visit.expect(visit.page.locator("html[lang=es]")).to_be_attached()
    held[0].continue_()
    after = "import('/playground/js/i18n/fr.js').then(() => new Promise((go) => setTimeout(go)))"
    visit.page.evaluate(f"() => {after}")
    visit.expect(visit.page.locator("html")).to_have_attribute("lang", "es")
    visit.expect(visit.page.locator("#language")).to_have_value("es")
    visit.expect(visit.page.locator("#tab-search")).to_have_text("Buscar")
    assert visit.page.evaluate(PREFERRED, "kok-IN") == "en"  # Konkani is no Korean
    assert visit.page.evaluate(PREFERRED, "zh-Hant-TW") == "zh"


def test_the_list_of_models_stays_in_its_place_when_another_one_is_chosen(guest: Visit) -> None:
    sign_in(guest, "both-models")
    model_is(guest, "a")
    models = guest.page.get_by_role("combobox", name="Model")
    option = models.locator("option").first.element_handle()
    models.focus()
    for key, name in (("ArrowDown", "b"), ("ArrowUp", "a")):
        guest.page.keyboard.press(key)
        model_is(guest, name)
        guest.expect(models).to_be_focused()
    guest.page.locator("#language").select_option("it")
    guest.expect(guest.page.get_by_role("combobox", name="Modello")).to_have_value("a")
    assert option.evaluate("(each) => each.isConnected")
