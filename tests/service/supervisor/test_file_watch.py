"""The operator's files at the start: keys and certificates."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.config.keys import make_key
from service.config.options import OptionError
from service.config.settings import Settings
from service.supervisor.file_watch import OperatorFiles, checked_keys
from tests.certificates import make_pair


def test_keys_may_begin_with_a_byte_order_mark_as_editors_write_it(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(make_key("search")[1], encoding="utf-8-sig")
    (found,) = OperatorFiles(Settings(api_keys=str(path))).api_keys()
    assert found.name == "search"


def test_keys_that_are_no_text_are_refused_by_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(make_key("search")[1], encoding="utf-16")
    with pytest.raises(OptionError, match=rf"--api-keys: {path}: is not UTF-8 text"):
        OperatorFiles(Settings(api_keys=str(path)))


def test_an_empty_file_takes_no_key_away_though_there_are_others_beside_it() -> None:
    (_, search), (_, web) = make_key("search"), make_key("web")
    assert checked_keys(search.encode(), web).decode().split("\n") == [search, web]
    for content in (b"", b"# none yet\n"):
        with pytest.raises(ValueError, match="holds no key"):
            checked_keys(content, web)


def test_an_empty_file_of_authorities_is_refused(tmp_path: Path) -> None:
    """Clients would be asked for no certificate at all."""
    certificate, key = make_pair(tmp_path, "server").put(tmp_path)
    authorities = tmp_path / "authorities.pem"
    authorities.touch()
    settings = Settings(tls_certificate=str(certificate), tls_key=str(key), tls_client_ca=str(authorities))
    with pytest.raises(OptionError, match="the clients' authorities are not PEM"):
        OperatorFiles(settings)
