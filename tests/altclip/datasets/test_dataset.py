"""Reading folders: every layout gives the same set; whatever is wrong is named by file, line or member."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from altclip.datasets.dataset import Dataset, Request
from altclip.datasets.folder import read_folder
from altclip.datasets.items import DataError
from tests.altclip.evaluate.evaluation_data import picture, write_captioned, write_labelled, write_tar

CAPTIONED = [("cat", "a cat\nthe cat"), ("dog", "a dog"), ("moon", "a moon\n\nthe moon\n")]
REQUEST = Request(Path(), known=("en", "zh"))


def request(path: Path, **options: object) -> Request:
    return dataclasses.replace(REQUEST, path=path, **options)  # type: ignore[arg-type]


def pairs(dataset: Dataset, language: str = "en") -> set[tuple[bytes, str]]:
    return {(dataset.pictures[c.picture].read(), c.text.text) for c in dataset.captions[language]}


WANTED = {
    (picture("cat"), "a cat"),
    (picture("cat"), "the cat"),
    (picture("dog"), "a dog"),
    (picture("moon"), "a moon"),
    (picture("moon"), "the moon"),
}


def test_a_webdataset_for_retrieval(tmp_path: Path) -> None:
    write_captioned(tmp_path / "wds_little", CAPTIONED)
    dataset = read_folder(request(tmp_path / "wds_little"))
    assert (dataset.name, dataset.task, dataset.left_out) == ("wds_little", "retrieval", [])
    assert pairs(dataset) == WANTED


def test_the_same_unpacked(tmp_path: Path) -> None:
    for index, (words, captions) in enumerate(CAPTIONED):
        folder = tmp_path / "test" / f"part{index}"
        folder.mkdir(parents=True)
        (folder / "s0.jpg").write_bytes(picture(words))
        (folder / "s0.txt").write_text(captions)
    assert pairs(read_folder(request(tmp_path))) == WANTED


def test_names_of_loose_files_may_hold_dots(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    for name, content in (("x.1.jpg", picture("cat")), ("x.1.txt", b"a cat"), ("x.1.zh.txt", "猫".encode())):
        (tmp_path / "test" / name).write_bytes(content)
    (tmp_path / "test" / "x.2.JPG").write_bytes(picture("dog"))
    (tmp_path / "test" / "x.2.txt").write_text("a dog")
    dataset = read_folder(request(tmp_path))
    assert pairs(dataset) == {(picture("cat"), "a cat"), (picture("dog"), "a dog")}
    assert pairs(dataset, "zh") == {(picture("cat"), "猫")}


def test_shards_without_a_split_or_a_count(tmp_path: Path) -> None:
    for shard in ("10.tar", "9.tar"):
        write_tar(tmp_path / shard, [(f"{shard}.jpg", picture(shard)), (f"{shard}.txt", b"a cat")])
    names = [each.name for each in read_folder(request(tmp_path)).pictures]
    assert names == ["9.tar/9.tar.jpg", "10.tar/10.tar.jpg"]


def test_captions_in_several_languages_stand_in_members_of_their_own(tmp_path: Path) -> None:
    members = [("a.jpg", picture("cat")), ("a.txt", b"a cat"), ("a.zh.txt", "一只猫".encode())]
    write_tar(tmp_path / "test" / "0.tar", [*members, ("b.jpg", picture("dog")), ("b.txt", b"a dog")])
    dataset = read_folder(request(tmp_path))
    assert pairs(dataset, "zh") == {(picture("cat"), "一只猫")}
    assert len(dataset.captions["en"]) == 2
    only = read_folder(request(tmp_path, languages=["zh"]))
    assert list(only.captions) == ["zh"]  # now the member without a language is taken for zh as well
    assert [str(each).rpartition(": ")[2] for each in only.left_out] == []


def test_a_webdataset_for_classification(tmp_path: Path) -> None:
    write_labelled(tmp_path, [("cat", 0), ("dog", 1)], ["cat", "dog"])
    dataset = read_folder(request(tmp_path))
    assert (dataset.task, dataset.labels) == ("classification", [0, 1])
    assert dataset.classes == {"en": ["cat", "dog"]}
    assert dataset.templates == {"en": ["a photo of a {}.", "a drawing of a {}."]}


def test_a_folder_for_each_class_takes_the_classes_in_order_of_their_folders(tmp_path: Path) -> None:
    for folder, words in (("n02", "dog"), ("n01", "cat"), ("n03", "")):
        (tmp_path / "val" / folder).mkdir(parents=True)
        if words:
            (tmp_path / "val" / folder / "x.JPEG").write_bytes(picture(words))
    dataset = read_folder(request(tmp_path, split="val"))
    assert [(each.name, label) for each, label in zip(dataset.pictures, dataset.labels, strict=True)] == [
        ("n01/x.JPEG", 0),
        ("n02/x.JPEG", 1),
    ]
    assert dataset.classes == {"en": ["n01", "n02"]}  # n03 has no picture
    (tmp_path / "classnames.txt").write_text("cat\ndog\nbird\n")
    assert read_folder(request(tmp_path, split="val")).classes == {"en": ["cat", "dog", "bird"]}


def test_names_and_templates_in_further_languages(tmp_path: Path) -> None:
    write_labelled(tmp_path, [("cat", 0)], ["cat", "dog"])
    (tmp_path / "zh.json").write_text(json.dumps(["猫", "狗"]))
    (tmp_path / "templates_zh.txt").write_text("一张{}的照片\n")
    files = {"classnames": {"zh": tmp_path / "zh.json"}, "templates": {"zh": tmp_path / "templates_zh.txt"}}
    dataset = read_folder(request(tmp_path, **files))
    assert dataset.classes == {"en": ["cat", "dog"], "zh": ["猫", "狗"]}
    assert dataset.templates["zh"] == ["一张{}的照片"]
    assert list(read_folder(request(tmp_path, languages=["zh"], **files)).classes) == ["zh"]


def test_a_sample_that_lacks_something_is_left_out_and_told(tmp_path: Path) -> None:
    members = [
        ("a.jpg", picture("cat")),
        ("b.txt", b"a dog"),
        ("c.jpg", picture("moon")),
        ("c.txt", b"the moon"),
    ]
    write_tar(tmp_path / "test" / "0.tar", members)
    dataset = read_folder(request(tmp_path, task="retrieval"))
    assert len(dataset.pictures) == 1
    assert [str(each).replace(str(tmp_path), "") for each in dataset.left_out] == [
        "/test/0.tar: a: no caption (.txt)",
        "/test/0.tar: b: no picture",
    ]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.jpg", b"x"), ("a.cls", b"cat")], "test/0.tar: a.cls: not the index of a class: 'cat'"),
        ([("a.jpg", b"x"), ("a.cls", b"7")], "test/0.tar: a: class 7, but only 2 classes have names"),
        ([("a.jpg", b"x"), ("a.npy", b"7")], "test/0.tar: a.npy: sets with several labels"),
        (
            [("a.jpg", b"x"), ("a.png", b"y")],
            "test/0.tar: a.png: its sample has a picture already, 0.tar/a.jpg",
        ),
        ([("a.jpg", b"x"), ("a.v2.txt", b"y")], "test/0.tar: a.v2.txt: 'v2' is no language"),
        ([("a.jpg", b"x"), ("a.txt", b"ok\n\xff")], "test/0.tar: a.txt line 2: not UTF-8"),
    ],
)
def test_a_bad_member_is_named(tmp_path: Path, members: list[tuple[str, bytes]], message: str) -> None:
    write_tar(tmp_path / "test" / "0.tar", members)
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError) as error:
        read_folder(request(tmp_path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_damaged_or_missing_shard_is_named(tmp_path: Path) -> None:
    write_captioned(tmp_path, CAPTIONED, shards=3)
    shard = tmp_path / "test" / "1.tar"
    whole = shard.read_bytes()
    for damaged, message in (
        (whole[:700], "1.tar: not a whole tar file"),
        (whole[: 4 * 512], "1.tar: ends without the mark"),
        (b"\x1f\x8b" + whole, "1.tar: not a whole tar file without compression"),
    ):
        shard.write_bytes(damaged)
        with pytest.raises(DataError, match=message):
            read_folder(request(tmp_path))
    shard.unlink()
    with pytest.raises(DataError, match=r"1\.tar: no such file, but .*nshards\.txt says there are 3 shards"):
        read_folder(request(tmp_path))


def test_a_template_with_a_cyrillic_placeholder_is_named(tmp_path: Path) -> None:
    write_labelled(tmp_path, [("cat", 0)], ["cat"])
    (tmp_path / "zeroshot_classification_templates.txt").write_text("a {c}\nфото {с}\n")
    with pytest.raises(DataError, match=r"templates\.txt line 2: .*Cyrillic"):
        read_folder(request(tmp_path))


class TestWhatIsNoData:
    """What file managers, archives and notebooks leave beside the data."""

    def write(self, root: Path) -> None:
        for name in (
            "cat/1.png",
            "dog/1.png",
            ".ipynb_checkpoints/1.png",
            "__MACOSX/dog/._1.png",
            "dog/._1.png",
        ):
            (root / "test" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "test" / name).write_bytes(picture(name))
        (root / "test" / "empty").mkdir()
        (root / "test" / "notes").mkdir()
        (root / "test" / "notes" / "README.md").touch()
        (root / "test" / ".DS_Store").touch()

    def test_hidden_and_empty_folders_are_no_classes(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        dataset = read_folder(request(tmp_path))
        assert dataset.classes["en"] == ["cat", "dog"]
        assert [each.name for each in dataset.pictures] == ["cat/1.png", "dog/1.png"]

    def test_a_file_of_names_counts_every_folder(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        (tmp_path / "classnames.txt").write_text("a cat\na dog\nnothing\nsome notes\n")
        dataset = read_folder(request(tmp_path))
        assert (dataset.labels, dataset.classes["en"][1]) == ([0, 1], "a dog")

    def test_hidden_members_and_shards_are_no_samples(self, tmp_path: Path) -> None:
        members = [("a.jpg", picture("cat")), ("a.txt", b"a cat")]
        hidden = [("__MACOSX/._a.jpg", b"?"), ("._a.txt", b"\xff"), (".x/b.jpg", b"?")]
        write_tar(tmp_path / "test" / "0.tar", [*members, *hidden])
        (tmp_path / "test" / "._0.tar").write_bytes(b"?")
        assert pairs(read_folder(request(tmp_path))) == {(picture("cat"), "a cat")}

    def test_hidden_files_beside_captions_are_no_captions(self, tmp_path: Path) -> None:
        (tmp_path / "test").mkdir()
        for name, content in (
            ("a.jpg", picture("cat")),
            ("a.txt", b"a cat"),
            ("._a.txt", b"\xff"),
            ("._a.jpg", b""),
        ):
            (tmp_path / "test" / name).write_bytes(content)
        dataset = read_folder(request(tmp_path))
        assert (pairs(dataset), dataset.left_out) == ({(picture("cat"), "a cat")}, [])
