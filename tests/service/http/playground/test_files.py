"""The page and its files: nobody needs a key for them, and the browser is told to load nothing else."""

from __future__ import annotations

import re

import pytest

from service.frontend.http.playground.files import FOLDER, files
from tests.service.http.asking import Asking, keyed

pytestmark = pytest.mark.asyncio(loop_scope="session")
MOST_BYTES = 300_000


async def test_the_page_lets_the_browser_load_nothing_from_elsewhere(shared: Asking) -> None:
    answer = await shared.get("/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(each.strip().split(" ", 1) for each in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", [name for name in files() if name.endswith((".js", ".css", ".html"))])
async def test_every_address_in_the_page_s_files_is_relative(name: str) -> None:
    text = files()[name].content.decode()
    assert not re.findall(r"""(?:src|href|from|import|url)\s*[=(]?\s*["'(](?:https?:)?/""", text)


async def test_every_file_is_served_with_its_type_and_once_only(shared: Asking) -> None:
    for name, file in files().items():
        answer = await shared.get(f"/playground/{name}")
        assert (answer.status, answer.body) == (200, file.content), name
        assert answer.headers["content-type"] == file.content_type
    again = await shared.get("/playground/js/main.js", headers={"if-none-match": files()["js/main.js"].etag})
    assert (again.status, again.body) == (304, b"")
    assert "content-length" not in again.headers  # it would be that of the file


async def test_a_browser_asks_anew_for_what_a_new_server_may_have_changed_and_once_for_a_picture(
    shared: Asking,
) -> None:
    for name in ("js/main.js", "pictures/names.json"):
        assert (await shared.get(f"/playground/{name}")).headers["cache-control"] == "no-cache"
    picture = await shared.get("/playground/pictures/cat.png")
    assert picture.headers["cache-control"] == "max-age=60"  # it is shown, and read to be embedded


@pytest.mark.parametrize(
    "path", ["nothing.js", "../files.py", "%2e%2e/files.py", "..%2f..%2fserver.py", "/etc/passwd", "js"]
)
async def test_nothing_else_is_served(shared: Asking, path: str) -> None:
    assert (await shared.get(f"/playground/{path}")).status == 404


async def test_the_page_needs_no_key_and_its_numbers_do() -> None:
    async with keyed() as http:
        assert (await http.get("/")).status == 200
        assert (await http.get("/playground/css/base.css")).status == 200
        assert (await http.get("/playground/status")).status == 401


async def test_the_page_and_a_language_weigh_less_than_it_promises() -> None:
    once = [name for name in files() if not name.startswith(("pictures/", "js/i18n/"))]
    largest = max(len(files()[name].content) for name in files() if name.startswith("js/i18n/"))
    english = len(files()["js/i18n/en.js"].content)
    assert sum(len(files()[name].content) for name in once) + largest + english < MOST_BYTES


async def test_the_page_asks_at_once_for_all_modules_that_it_begins_with() -> None:
    found, todo = set[str](), ["main.js"]
    while todo:
        name = todo.pop()
        text = files()[f"js/{name}"].content.decode()
        todo += set(re.findall(r'^import .* from "\./(.+)";$', text, re.MULTILINE)) - found
        found.add(name)
    asked = re.findall(
        r'rel="modulepreload" href="playground/js/(.+?)"', files()["index.html"].content.decode()
    )
    assert sorted(asked) == sorted(found - {"main.js"})


async def test_no_module_of_the_page_is_long() -> None:
    for path in [*FOLDER.rglob("*.js"), *FOLDER.rglob("*.css"), *FOLDER.rglob("*.html")]:
        assert len(path.read_text().splitlines()) <= 320, path.name
