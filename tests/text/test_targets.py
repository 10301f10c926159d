import pytest

from diva.text.targets import Vocabulary, class_counts, entry_faults, multi_hot, recognised, spelled


@pytest.mark.parametrize(
    ("text", "task", "expected"),
    [
        ("dog; cat ;dog", "multilabel", "cat|dog"),
        ("|", "multilabel", "|"),
        (";", "multilabel", "|"),
        ("b|a", "multilabel", "a|b"),
        ("3", "regression", "3.0"),
        ("1e-07", "regression", "1e-7"),
        ("b|a", "classification", "b|a"),
    ],
)
def test_every_label_has_one_spelling(text, task, expected):
    assert spelled(text, task, ";") == expected
    assert spelled(expected, task, ";") == expected


@pytest.mark.parametrize("text", ["much", "nan", "inf", ""])
def test_what_is_no_finite_number_is_refused(text):
    with pytest.raises(ValueError, match="label must be a finite number, got"):
        spelled(text, "regression")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"cat": 3, "dog": 4}, "classification"),
        ({str(number): 10 for number in range(10)}, "classification"),
        ({"0.5": 9, "1.5": 9}, "classification"),
        ({"cat": 3, "dog": 4, "cat|dog": 1}, "multilabel"),
        ({"a|b": 3, "c|d": 4}, "classification"),  # names with a bar in them
        ({}, "classification"),
    ],
)
def test_the_task_is_recognised_by_the_labels(labels, expected):
    assert recognised(labels) == expected
    assert recognised(labels, ";") == "multilabel"


@pytest.mark.parametrize("labels", [{str(n + 0.5): 1 for n in range(60)}, {str(n): 1 for n in range(60)}])
def test_numbers_that_may_be_either_are_asked_about_in_one_line(labels):
    with pytest.raises(
        ValueError, match=r"60 different numbers in 60 samples, .*: say --task regression, or"
    ) as refusal:
        recognised(labels)
    assert "\n" not in str(refusal.value)


def test_several_labels_are_counted_one_by_one_and_compared_entry_by_entry():
    assert class_counts({"b;a": 2, "a": 3, "|": 4}, "multilabel", ";") == {"a": 5, "b": 2}
    assert class_counts({"1.5": 2}, "regression") == {}
    assert multi_hot([[0, 1], [0, 0], [1, 1]], ["b", "a"]) == ["a", "|", "a|b"]
    assert entry_faults("cat|tree", "dog|tree") == "dog is missing, cat is wrong"


def test_a_vocabulary_takes_its_own_spelling_and_knows_what_is_its():
    several = Vocabulary("multilabel", ["caf\u00e9|dog", "tree"], ";")
    assert several.spell("cafe\u0301; tree") == "caf\u00e9|tree"
    assert several.knows("dog|tree")
    assert not several.knows("dog|lion")
    numbers = Vocabulary("regression", ["1.0"])
    assert (numbers.spell("2"), numbers.spell("much")) == ("2.0", "much")
    assert numbers.knows("7.5")
    assert not numbers.knows("much")
