"""Accuracy of answers to questions about pictures, as the official VQA evaluation counts it. No torch, no numpy here.

Source: Antol et al. 2015 (arXiv 1505.00468), section 3; Goyal et al. 2017 (arXiv 1612.00837); the rules of normalisation as in
`vqaEval.py` of github.com/GT-Vision-Lab/VQA.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

ANNOTATORS = 10  # answers to each question of VQA
ENOUGH = 3  # annotators who make an answer right

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
ARTICLES = {"a", "an", "the"}
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {word: str(n) for n, word in enumerate(_NUMBERS)} | {"none": "0"}

# what is written without one of its apostrophes gets it back
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd've he'd he's how'd
how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't
'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll they're
they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll
who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're
you've
"""
CONTRACTIONS = {
    word[: apostrophe.start()] + word[apostrophe.end() :]: word
    for word in _CONTRACTED.split()
    for apostrophe in re.finditer("'", word)
} | {"somebody'd": "somebodyd"}  # the official table has this one the wrong way round


@lru_cache(1 << 16)
def normalise(answer: str) -> str:
    """The form in which answers are compared: lower case, no punctuation, no articles, digits, whole contractions.

    Punctuation beside a space, or in an answer with a comma between digits, is dropped; elsewhere it becomes a space. A period
    stays before a digit. (The official code stops after 32 periods in an answer; this does not.)

    >>> normalise("The T-shirt, one of 1,000!")
    'tshirt 1 of 1000'
    """
    answer = _trim(answer)
    dropped = re.search(r"\d,\d", answer)
    clean = answer
    for mark in PUNCTUATION:
        beside_space = f"{mark} " in answer or f" {mark}" in answer
        clean = clean.replace(mark, "" if dropped or beside_space else " ")
    words = re.sub(r"\.(?!\d)", "", clean).lower().split()
    numbers = [NUMBERS.get(word, word) for word in words]
    return " ".join(CONTRACTIONS.get(word, word) for word in numbers if word not in ARTICLES)


def vqa_accuracy(predicted: str, answers: Sequence[str]) -> float:
    """Mean of min(matches / 3, 1) over the answers of all annotators but one.

    Of ten answers 0, 1, 2, 3 or more than 3 that match give 0, .3, .6, .9, 1. Ten that are all alike are compared as they are
    written, because the official evaluation leaves them so (they are often text read in the picture).

    Fewer than ten answers are always normalised, and fewer than four cannot have three others that match: there all the others
    have to (two answers: the share that matches; one answer: an exact match).

    Args:
        predicted: the model's answer, as the model wrote it.
        answers: those of the annotators, as they wrote them.

    Raises:
        ValueError: no answers; a question without any is not counted.
    """
    if not answers:
        raise ValueError("a question without answers has no accuracy")
    predicted, given = _trim(predicted), [_trim(answer) for answer in answers]
    n = len(given)
    if n < ANNOTATORS or len(set(given)) > 1:
        predicted, given = normalise(predicted), [normalise(answer) for answer in given]
    matches = given.count(predicted)
    if matches in (0, n):
        return float(matches > 0)
    enough = min(ENOUGH, n - 1)
    without_a_match, without_another = min((matches - 1) / enough, 1), min(matches / enough, 1)
    return (matches * without_a_match + (n - matches) * without_another) / n


def by_type(rows: Iterable[tuple[str | None, float]]) -> dict[str, dict[str, float]]:
    """The mean accuracy and the number of questions of each type, sorted by type.

    Args:
        rows: (type, accuracy) of each question; those of no type are left out.

    >>> by_type([("count", 1.0), ("colour", 0.5), ("count", 0.0)])
    {'colour': {'mean': 0.5, 'n': 1}, 'count': {'mean': 0.5, 'n': 2}}
    """
    found: dict[str, list[float]] = defaultdict(list)
    for kind, accuracy in rows:
        if kind is not None:
            found[kind].append(accuracy)
    return {kind: {"mean": sum(values) / len(values), "n": len(values)} for kind, values in sorted(found.items())}


def _trim(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()
