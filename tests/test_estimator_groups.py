"""`groups=` in the estimators, and the warning where nobody named what belongs together."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from diva.estimators import DivaClassifier, consensus, detect, extend, reweight
from tests.curation.test_relatives import views

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


@pytest.fixture(scope="module")
def sample():
    """Three views of 100 images, 30 % of which carry a wrong label that their views share."""
    x, labels, images = views(100)
    truth = (images % 3).numpy()
    return x.numpy(), labels.numpy(), images.numpy(), labels.numpy() != truth


def test_shared_wrong_labels_are_found_with_groups_and_not_without(sample):
    x, y, images, wrong = sample
    together, alone = detect(x, y, groups=images), detect(x, y, groups="never")
    assert roc_auc_score(wrong, together.score) > roc_auc_score(wrong, alone.score) + 0.1
    assert together.flagged.sum() > alone.flagged.sum()


def test_one_view_of_each_image_is_judged_as_well_as_all_views(sample):
    x, y, images, wrong = sample
    first = np.unique(images, return_index=True)[1]
    one = roc_auc_score(wrong[first], detect(x[first], y[first]).score)
    assert roc_auc_score(wrong, detect(x, y, groups=images).score) > one - 0.03


def test_where_nobody_named_them_relatives_are_left_out_together_with_a_warning(sample):
    x, y, images, wrong = sample
    with pytest.warns(UserWarning, match=r"samples belong together: .* from .* such as .*Say groups="):
        found = detect(x, y)
    assert roc_auc_score(wrong, found.score) == pytest.approx(
        roc_auc_score(wrong, detect(x, y, groups=images).score), abs=0.02
    )


def test_always_leaves_relatives_out_without_a_warning(sample):
    x, y, _, _ = sample
    with pytest.warns(UserWarning, match="belong together"):
        expected = detect(x, y)
    np.testing.assert_array_equal(detect(x, y, groups="always").score, expected.score)


def test_independent_rows_are_judged_to_the_bit_as_without_asking():
    x, y, _ = views(180, 1, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked, never = detect(x, y), detect(x, y, groups="never")
    np.testing.assert_array_equal(asked.score, never.score)
    np.testing.assert_array_equal(detect(x, y, groups=np.arange(180)).score, never.score)


def test_names_of_groups_are_strings_or_numbers_and_their_order_says_nothing(sample):
    x, y, images, _ = sample
    by_number = detect(x, y, groups=images).score
    np.testing.assert_array_equal(detect(x, y, groups=[f"image {999 - i}" for i in images]).score, by_number)
    np.testing.assert_array_equal(detect(x, y, groups=images.astype(float)).score, by_number)


def test_weights_and_classifier_obey_groups(sample):
    x, y, images, wrong = sample
    weights = reweight(x, y, groups=images).weights
    assert weights[wrong].mean() < weights[~wrong].mean() - 0.2
    model = DivaClassifier().fit(x, y, groups=images)
    error = (model.classes_[model.loo_predictions_.argmax(1)] != y).mean()
    plain = DivaClassifier().fit(x, y, groups="never")
    assert error > (plain.classes_[plain.loo_predictions_.argmax(1)] != y).mean() + 0.1
    assert model.derivative_.shape == (300,)


def test_extend_adds_no_wrong_label_that_views_share(sample):
    x, y, images, wrong = sample
    core = images < 40
    arguments = (x[core], y[core], x[~core], y[~core])
    grouped = extend(*arguments, groups=images[core], groups_pool=images[~core])
    plain = extend(*arguments, groups="never")
    bad = wrong[~core]
    assert bad[grouped.index].mean() < bad[plain.index].mean() - 0.1


def test_bad_groups_are_told(sample):
    x, y, images, _ = sample
    with pytest.raises(ValueError, match=r"groups must have one entry per row \(300,\), got \(299,\)"):
        detect(x, y, groups=images[:-1])
    with pytest.raises(ValueError, match="groups must hold a group for every row, got none in row 4"):
        detect(x, y, groups=np.where(np.arange(300) == 4, np.nan, images))
    with pytest.raises(ValueError, match="groups must hold a group for every row, got none in row 1"):
        detect(x, y, groups=["a", None] * 150)
    with pytest.raises(ValueError, match="groups must hold a group for every row, got none in row 1"):
        detect(x, y, groups=["a", ""] * 150)
    with pytest.raises(ValueError, match="groups must hold at least 2 groups, got one"):
        detect(x, y, groups=np.zeros(300))
    with pytest.raises(ValueError, match="groups must spread every class over at least 2 groups, got all samples of 2"):
        reweight(x, y, groups=np.where(y == 2, -5, images))
    with pytest.raises(ValueError, match="group must be one of auto, never, always, got 'sometimes'"):
        detect(x, y, groups="sometimes")
    with pytest.raises(ValueError, match="groups_pool must have one entry per row"):
        extend(x, y, x, y, groups=images, groups_pool=images[:-1])
    with pytest.raises(ValueError, match="groups must spread every class over at least 2 groups, got all samples of 2"):
        consensus(x, np.stack([y, y], 1), groups=np.where(y == 2, -5, images))


def test_a_class_that_lies_in_one_group_is_not_judged(sample):
    x, y, images, _ = sample
    with pytest.warns(UserWarning, match=r"classes of one group \(1: 2\) are not judged: add a second group of each"):
        found = detect(x, y, groups=np.where(y == 2, -5, images))
    assert np.isnan(found.score[y == 2]).all()
    assert not found.flagged[y == 2].any()
    assert np.isfinite(found.score[y != 2]).all()
