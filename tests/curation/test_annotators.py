import numpy as np
import pytest
import torch

from diva.curation.annotators import consensus, posterior, turns, value_of_a_vote
from diva.estimators import annotation_table
from diva.estimators import consensus as agree
from diva.numerics.chunks import InMemory
from tests import naive
from tests.problems import relative_error


def annotated(n=600, classes=4, quality=(0.9, 0.75, 0.5), answered=1.0, seed=0):
    """Rows around a mean for each class, their classes, and votes of annotators who err independently."""
    g = torch.Generator().manual_seed(seed)
    truth = torch.randint(classes, (n,), generator=g)
    z = torch.cat([3 * torch.eye(classes)[truth] + torch.randn(n, classes, generator=g), torch.ones(n, 1)], 1).double()
    columns = []
    for q in quality:
        other = (truth + torch.randint(1, classes, (n,), generator=g)) % classes
        vote = truth.where(torch.rand(n, generator=g) < q, other)
        columns.append(vote.where(torch.rand(n, generator=g) < answered, -1))
    votes = torch.stack(columns, 1)
    votes[(votes < 0).all(1), 0] = 0
    return InMemory(z, torch.zeros(n, dtype=torch.int64), 100), truth, votes


def test_probabilities_follow_from_bayes_rule():
    g = torch.Generator().manual_seed(1)
    prior = torch.rand(9, 4, generator=g).double()
    prior /= prior.sum(1, keepdim=True)
    votes, quality = torch.randint(-1, 4, (9, 3), generator=g), torch.tensor([0.9, 0.6, 0.4]).double()
    assert relative_error(posterior(prior.log(), votes, quality), naive.vote_posterior(prior, votes, quality)) < 1e-12


def test_turns_end_where_quality_is_the_mean_probability_of_what_was_said():
    _, _, votes = annotated(answered=0.7)
    prior = torch.full((600, 4), 0.25).double().log()
    p, quality = turns(prior, votes)
    for a, vote in enumerate(votes.T):
        said = vote >= 0
        assert p[said].gather(1, vote[said, None]).mean() == pytest.approx(float(quality[a]), abs=1e-7)


@pytest.mark.parametrize("quality", [0.9, 0.5, 0.25])
def test_the_value_of_a_vote_is_what_all_its_answers_bring(quality):
    p = torch.rand(20, 4, generator=torch.Generator().manual_seed(2)).double()
    p /= p.sum(1, keepdim=True)
    expected = naive.value_of_a_vote(p, quality).clamp_min(0)
    assert torch.allclose(value_of_a_vote(p, quality), expected, atol=1e-12)


def test_a_consensus_is_better_than_most_votes_and_knows_annotators():
    chunks, truth, votes = annotated(answered=0.8)
    agreed = consensus(chunks, votes, 4)
    wrong = agreed.plurality != truth
    assert (agreed.label != truth).sum() < 0.7 * wrong.sum()
    assert agreed.wrong[wrong].mean() > 3 * agreed.wrong[~wrong].mean()
    assert torch.equal(agreed.votes, (votes >= 0).sum(0))
    for a, q in enumerate((0.9, 0.75, 0.5)):
        low, high = agreed.interval[a].tolist()
        assert low < agreed.quality[a] < high
        assert low - 0.02 < q < high + 0.02
    unclear = (agreed.label != truth)[agreed.next_vote[:100]].double().mean()
    assert unclear > 2 * (agreed.label != truth).double().mean()


def test_nobody_is_outvoted_by_the_model():
    chunks, _, votes = annotated()
    agreed = consensus(chunks, votes, 4, ridge=1.0)
    assert (votes == agreed.label[:, None]).any(1).all()
    single = consensus(chunks, votes[:, :1], 4)
    assert torch.equal(single.label, votes[:, 0])


def test_the_order_of_annotators_and_who_never_voted_change_nothing():
    chunks, _, votes = annotated()
    agreed = consensus(chunks, votes, 4)
    absent = torch.full((600, 1), -1)
    other = consensus(chunks, torch.cat([absent, votes.flip(1)], 1), 4)
    assert torch.equal(agreed.label, other.label)
    assert torch.allclose(agreed.quality, other.quality[1:].flip(0), atol=1e-9)
    assert other.quality[0].isnan()
    assert other.interval[0].isnan().all()


def test_who_is_worse_than_chance_or_never_wrong_has_the_quality_of_the_interval():
    chunks, truth, votes = annotated(quality=(1.0, 1.0, 0.9), classes=2)
    agreed = consensus(chunks, torch.cat([votes, 1 - truth[:, None]], 1), 2)
    assert agreed.quality[3] < 0.1
    assert agreed.quality[0] > 0.99
    assert ((agreed.interval[:, 0] <= agreed.quality) & (agreed.quality <= agreed.interval[:, 1])).all()
    counts = torch.stack([(votes == c).sum(1) for c in range(2)], 1)
    assert torch.equal(consensus(chunks, votes, 2, ridge=1.0).plurality, counts.argmax(1))


def test_names_and_missing_labels_are_taken_as_they_are():
    chunks, _, votes = annotated(n=200, classes=3, answered=0.6)
    table = np.array(["cat", "dog", "eel", None], dtype=object)[votes.numpy()]
    named = agree(chunks.features[:, :-1].numpy(), table, normalize="none", dtype="float64")
    coded = consensus(chunks, votes, 3)
    assert named.classes.tolist() == ["cat", "dog", "eel"]
    assert named.label.tolist() == table_of(coded.label)
    assert np.allclose(named.soft, coded.probability.numpy(), atol=1e-6)
    numbers = np.where(votes.numpy() < 0, np.nan, votes.numpy())
    for coded in (numbers.tolist(), np.where(votes.numpy() < 0, None, votes.numpy())):
        assert agree(chunks.features[:, :-1].numpy(), coded, normalize="none").classes.tolist() == [0, 1, 2]
    assert agree(chunks.features[:, :-1].numpy(), numbers, normalize="none").label.dtype == np.float64
    pandas = pytest.importorskip("pandas")
    for absent in (float("nan"), np.float32("nan"), pandas.NA, ""):
        lists = [[absent if vote is None else vote for vote in row] for row in table.tolist()]
        for other in (lists, pandas.DataFrame(lists), np.array(lists, dtype=object)):
            same = agree(chunks.features[:, :-1].numpy(), other, normalize="none", dtype="float64")
            assert same.classes.tolist() == named.classes.tolist()
            assert np.array_equal(same.soft, named.soft)


def test_a_list_of_who_said_what_is_the_same_as_columns():
    rows, who, labels = [0, 1, 0, 1, 1], ["zoe", "ann", "ann", "zoe", "ann"], ["cat", "dog", "dog", "cat", "eel"]
    table, annotators = annotation_table(rows, who, labels, n=3)
    assert annotators.tolist() == ["ann", "zoe"]
    assert table.tolist() == [["dog", "cat"], ["eel", "cat"], [None, None]]
    backwards, _ = annotation_table(rows, who, labels, n=3, time=[5, 4, 3, 2, 1])
    assert backwards[1].tolist() == ["dog", "cat"]
    with pytest.raises(ValueError, match=r"row must hold positions in 0\.\.1, got 0\.\.2"):
        annotation_table([0, 2], who[:2], labels[:2], n=2)


def table_of(codes):
    return np.array(["cat", "dog", "eel"])[codes.numpy()].tolist()


@pytest.mark.parametrize(
    ("votes", "words"),
    [
        (torch.tensor([[0, 1], [-1, -1]]), "votes must hold a label for every row, got none in row 1"),
        (torch.tensor([[0, 5], [1, 0]]), "votes must be codes of at least 2 classes, got 5"),
        (torch.tensor([0, 1]), r"votes must have shape \(2, annotators\)"),
    ],
)
def test_votes_that_mean_nothing_are_refused(votes, words):
    with pytest.raises(ValueError, match=words):
        consensus(InMemory(torch.eye(2).double(), torch.zeros(2)), votes, 2)
