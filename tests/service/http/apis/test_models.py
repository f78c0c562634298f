"""Which models there are, by their names and aliases."""

from __future__ import annotations

from tests.service.http.asking import asking


async def test_models_are_listed_with_their_aliases() -> None:
    async with asking("BAAI/AltCLIP", "second", alias=("clip=BAAI/AltCLIP",)) as http:
        listed = (await http.get("/v1/models")).json
        assert listed["object"] == "list"
        assert [each["id"] for each in listed["data"]] == ["BAAI/AltCLIP", "second", "clip"]
        assert {each["object"] for each in listed["data"]} == {"model"}
        assert all(isinstance(each["created"], int) and each["owned_by"] for each in listed["data"])
        for path in ("BAAI/AltCLIP", "BAAI%2FAltCLIP", "clip", "second"):
            one = await http.get(f"/v1/models/{path}")
            assert one.json["id"] == path.replace("%2F", "/")
        answer = await http.get("/v1/models/none")
        assert (answer.status, answer.error["code"], answer.error["param"]) == (
            404,
            "model_not_found",
            "model",
        )
        answer = await http.embed(model="clip", input="a")
        assert answer.json["model"] == "BAAI/AltCLIP"
        answer = await http.embed(model="none", input="a")
        assert (answer.status, answer.error["type"]) == (404, "not_found_error")
