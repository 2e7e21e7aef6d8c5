from __future__ import annotations

import json

import pytest

from mmkit.errors import UserError
from mmkit.metrics.prompts import CLIP, PLACE, classes_of, fitting, templates_of

DATA = ("pets", "pets of mine")


def classes(*words, labels=("b", "a_c")):
    return classes_of(words, DATA, labels, "label")


def test_the_80_templates_of_clip_ship():
    found = templates_of(("openai",), DATA).sentences
    assert (len(found), len(set(found))) == (80, 80)
    assert (found[0], found[-1]) == ("a bad photo of a {c}.", "a tattoo of the {c}.")
    assert {"itap of my {c}.", "the origami {c}.", "a {c} in a video game."} < set(found)
    assert all(len(PLACE.findall(sentence)) == 1 for sentence in found)
    assert templates_of(("imagenet1k",), DATA).sentences == found


@pytest.mark.parametrize("place", ["{}", "{c}", "{label}", "{classname}", "{class}"])
def test_every_usual_place_is_filled(place):
    assert templates_of((f"a {place} of {place}",), DATA).fill(r"{c} \1") == [r"a {c} \1 of {c} \1"]


def test_templates_of_files(tmp_path):
    lines, benchmark = tmp_path / "lines.txt", tmp_path / "benchmark.json"
    lines.write_text("﻿a {} here\n\n the {c}  \n", encoding="utf-8")
    benchmark.write_text(json.dumps({"pets": ["a {c}, a type of pet."], "dtd": ["a {c} texture.", "a {c} pattern."]}))
    assert templates_of((str(lines),), DATA).sentences == ("a {} here", "the {c}")
    assert templates_of((str(benchmark),), DATA).sentences == ("a {c}, a type of pet.",)
    assert templates_of((f"{benchmark}:dtd", str(lines)), DATA).sentences[0] == "a {c} texture."
    with pytest.raises(UserError, match="none of them called as the dataset") as caught:
        templates_of((str(benchmark),), ("mine",))
    assert caught.value.hint == f"name one: {benchmark}:pets   (pets, dtd)"
    with pytest.raises(UserError, match="no 'dtx' in it") as caught:
        templates_of((f"{benchmark}:dtx",), DATA)
    assert caught.value.hint == "did you mean dtd?"


@pytest.mark.parametrize("value", [[], {}, "a {c}", [1], {"pets": "a"}, {"pets": []}, [" "], 3])
def test_json_of_another_form_is_refused(tmp_path, value):
    (tmp_path / "t.json").write_text(json.dumps(value))
    with pytest.raises(UserError):
        templates_of((str(tmp_path / "t.json"),), DATA)


def test_a_template_without_a_place_is_refused(tmp_path):
    (tmp_path / "t.txt").write_text("a {c}\na {C} photo\n")
    with pytest.raises(UserError, match=r"the template 'a \{C\} photo' has no place for the class"):
        templates_of((str(tmp_path / "t.txt"),), DATA)
    with pytest.raises(UserError, match="no templates are called 'opnai'") as caught:
        templates_of(("opnai",), DATA)
    assert caught.value.code == 2
    assert caught.value.hint.startswith("did you mean openai?")
    with pytest.raises(UserError, match="no such file"):
        templates_of(("absent.txt",), DATA)
    (tmp_path / "t.txt").write_text("\n")
    with pytest.raises(UserError, match="the file is empty"):
        templates_of((str(tmp_path / "t.txt"),), DATA)


def test_classes_of_the_labels_are_said_as_words():
    found = classes()
    assert (found.labels, found.names, found.source) == (("a_c", "b"), ("a c", "b"), "column label")


def test_classes_as_typed_keep_their_order():
    found = classes("dog, cat", "red fox")
    assert found.names == ("dog", "cat", "red fox")
    assert found.numbers(["Cat", "red_fox", "cow"]) == {"Cat": 1, "red_fox": 2}


def test_more_classes_than_a_name_has_letters():
    assert len(classes(",".join(f"class {i}" for i in range(1000))).names) == 1000


def test_labels_that_are_numbers_are_places():
    assert classes("dog,cat").numbers(["0", "1", "2"]) == {"0": 0, "1": 1}
    assert classes("2,1").numbers(["1", "2", "0"]) == {"1": 1, "2": 0}, "names of classes come first"


def test_classes_of_files(tmp_path):
    (tmp_path / "c.txt").write_text("dog\ncat\n")
    (tmp_path / "list.json").write_text('{"imagenet1k": ["x", "y"], "pets": ["dog", "cat"]}')
    (tmp_path / "names.json").write_text('{"n01": "dog", "n02": "cat"}')
    assert classes(str(tmp_path / "c.txt")).names == classes(str(tmp_path / "list.json")).names == ("dog", "cat")
    named = classes(str(tmp_path / "names.json"))
    assert (named.labels, named.names, named.source) == (("n01", "n02"), ("dog", "cat"), "names.json")
    assert named.numbers(["n02", "cat"]) == {"n02": 1}


def test_too_few_classes_or_one_twice_are_refused():
    with pytest.raises(UserError, match="there is one class alone, 'a', and nothing to tell it from"):
        classes("a")
    with pytest.raises(UserError, match="two classes are called 'a'"):
        classes("a,b", "a")


def test_the_template_that_captions_were_made_by():
    made = [(label, f"a drawing of a {label.replace('_', ' ')}") for label in ("sea_lion", "cat", "dog")]
    assert fitting(made, own=True).sentences == ("a drawing of a {c}",)
    free = [("cat", "it sleeps on a mat"), ("dog", "a dog barks"), ("dog", "see the dog")]
    assert fitting(free, own=True).sentences == ("{c}",)
    assert fitting(free, own=False).sentences == fitting([], own=False).sentences == (CLIP,)
