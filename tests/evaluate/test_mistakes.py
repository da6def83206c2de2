import numpy as np
import pytest

from torchgraft.core.errors import DataError
from torchgraft.evaluate import label_errors, softmax, worst_mistakes

CLASSES = ("cat", "dog")


def test_worst_mistakes_by_hand():
    proba = np.array([[0.6, 0.4], [0.1, 0.9], [0.8, 0.2], [0.99, 0.01]])
    found = worst_mistakes(np.array([1, 0, 0, 1]), proba, CLASSES, ["w", "x", "y", "z"])
    assert [one["id"] for one in found] == ["z", "x", "w"]
    assert found[0] == {"row": 3, "id": "z", "truth": "dog", "predicted": "cat", "confidence": 0.99}
    assert len(worst_mistakes(np.array([1, 0, 0, 1]), proba, CLASSES, list("wxyz"), limit=1)) == 1


def test_label_errors_by_hand():
    # labelled cat: mean p_cat 0.6; labelled dog: mean p_dog 0.7
    proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.35, 0.65], [0.35, 0.65]])
    y = np.array([0, 0, 0, 1, 1, 1])
    (found,) = label_errors(y, proba, CLASSES, list("abcdef"))
    assert found == {
        "row": 2,
        "id": "c",
        "given": "cat",
        "suggested": "dog",
        "confidence": 0.9,
        "margin": pytest.approx(0.8),
    }


def test_the_threshold_of_a_class_spares_what_it_is_seldom_sure_of():
    # p_dog 0.6 is more than p_cat, but dogs usually reach 0.95: not confident enough to accuse
    proba = np.array([[0.9, 0.1], [0.4, 0.6], [0.05, 0.95], [0.05, 0.95]])
    assert label_errors(np.array([0, 0, 1, 1]), proba, CLASSES, list("abcd")) == []


def test_wrong_labels_that_were_put_in_are_found_first():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 1000)
    proba = softmax(2 * (rng.normal(size=(1000, 5)) + 3 * np.eye(5)[truth]))
    y, wrong = truth.copy(), rng.choice(1000, 40, replace=False)
    y[wrong] = (y[wrong] + rng.integers(1, 5, 40)) % 5
    found = label_errors(y, proba, tuple("abcde"), [str(i) for i in range(1000)], limit=40)
    rows = [one["row"] for one in found]
    assert len(set(rows) & set(wrong.tolist())) / len(rows) > 0.85
    assert [one["margin"] for one in found] == sorted((one["margin"] for one in found), reverse=True)


def test_a_weak_model_accuses_few() -> None:
    # cats: mean p_cat 0.3; p_dog reaches the dogs' mean of 0.44, but is not more than half
    proba = np.array([[0.3, 0.45, 0.25], [0.3, 0.25, 0.45], [0.3, 0.44, 0.26], [0.1, 0.2, 0.7]])
    assert label_errors(np.array([0, 0, 1, 2]), proba, (*CLASSES, "eel"), list("abcd")) == []


def test_the_given_label_must_be_as_unlikely_as_elsewhere() -> None:
    # the dogs: p_cat is 0.1 and p_dog 0.7 on average
    proba = [[0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.05, 0.7, 0.25], [0.15, 0.7, 0.15]]
    for last, suspects in (([0.09, 0.7, 0.21], ["e"]), ([0.11, 0.8, 0.09], [])):
        found = label_errors(np.array([0, 0, 1, 1, 0]), np.array([*proba, last]), (*CLASSES, "eel"), list("abcde"))
        assert [one["id"] for one in found] == suspects


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_suspects_of_a_weak_model(noise: float) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 2000)
    logits = rng.normal(size=(2000, 5)) + 1.5 * np.eye(5)[truth]  # the best that can be: 62 % right
    y = np.where(rng.random(2000) < noise, rng.integers(0, 5, 2000), truth)
    proba = softmax(1.5 * logits)
    found = label_errors(y, proba, tuple("abcde"), list(map(str, range(2000))), limit=2000)
    wrong = (proba.argmax(1) != y).sum()
    assert len(found) < 0.3 * wrong, "most mistakes are the model's"


def test_a_class_without_samples_is_not_suggested():
    proba = np.array([[0.2, 0.1, 0.7], [0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    assert label_errors(np.array([0, 0, 1]), proba, (*CLASSES, "bird"), list("abc")) == []


def test_ids_must_match():
    with pytest.raises(DataError, match="one id for each of the 2 samples, got 1"):
        worst_mistakes(np.array([0, 1]), np.eye(2), CLASSES, ["a"])
