"""The script that draws with transformers until it is told to stop, without transformers: its samples and its inbox."""

import json

from benchmarks.peers.transformers_requests import Inbox, Sample, padded


def request(name: str, **changed: object) -> dict[str, object]:
    asked = {"add": name, "prompt": [5, 6], "ends": [9], "stop": ["\ndef"], "new_tokens": 4, "temperature": 0.8}
    return {**asked, "top_p": 0.95, **changed}


def spelled(tokens: list[int]) -> str:
    return "".join({1: "a", 2: "\n", 3: "de", 4: "f g"}[token] for token in tokens)


def feed(sample: Sample, tokens: list[int]) -> list[str | None]:
    return [sample.take(token, spelled) for token in tokens]


def test_a_sample_ends_at_an_end_at_a_stop_string_and_when_it_is_long() -> None:
    one = Sample(request("1"))
    assert feed(one, [1, 1, 9]) == [None, None, "aa"] and one.over and len(one.tokens) == 2
    one = Sample(request("2"))
    assert feed(one, [1, 2, 3, 4]) == [None, None, None, "a"] and one.over
    one = Sample(request("3"))
    assert feed(one, [1, 1, 1, 1]) == [None, None, None, "aaaa"] and one.over


def test_what_waits_can_be_aborted_and_what_is_drawn_as_well() -> None:
    inbox, drawing = Inbox(), [Sample(request("1")), Sample(request("2"))]
    lines = [request("3"), request("4"), {"abort": ["2", "3"]}, {"forget": True}]
    inbox.listen(json.dumps(line) + "\n" for line in lines)
    inbox.read(drawing)
    assert [sample.name for sample in inbox.waiting] == ["4"]
    assert [sample.over for sample in drawing] == [False, True]
    assert inbox.ended, "the input has ended"


def test_waiting_takes_the_first_line_and_all_that_is_there() -> None:
    inbox = Inbox()
    inbox.listen([json.dumps(request("1")) + "\n"])
    inbox.read([], wait=True)
    assert [sample.name for sample in inbox.waiting] == ["1"] and inbox.ended


def test_rows_are_filled_up_at_the_left() -> None:
    assert padded([[1, 2, 3], [4]]) == ([[1, 2, 3], [0, 0, 4]], [[1, 1, 1], [0, 0, 1]])
