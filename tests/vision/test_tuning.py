"""A network fine-tuned on images: it learns them, weights count, and its backbone stays as it was."""

from pathlib import Path

import pytest
import torch

from diva.vision.backbones import load_backbone
from diva.vision.release import Release
from diva.vision.transforms import ResizeCrop
from diva.vision.tuning import Tuning, finetune, judge, misclassified
from tests.projects import real_stages as project

TUNING = Tuning(8, learning_rate=0.05, batch_size=8, device="cpu")
TRANSFORM = ResizeCrop(12, 12)


def backbone():
    return load_backbone(project.NETWORK, size=12)


def rows(folder: Path, seeds: range, **weights: float) -> dict[str, list]:
    labels = [project.CLASSES[seed % 3] for seed in seeds]
    files = [project.photograph(folder / f"{seed}.png", seed, label) for seed, label in zip(seeds, labels, strict=True)]
    return {"path": files, "label": labels, "weight": [weights.get(label, 1.0) for label in labels]}


def parameters(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in network.state_dict().values()])


def test_colours_are_learned_and_the_backbone_stays_as_it_was(tmp_path):
    network = backbone()
    before = parameters(network)
    train, tests = rows(tmp_path, range(36)), rows(tmp_path, range(100, 130))
    wrong = judge(network, TRANSFORM, TUNING)(train, tests, project.CLASSES)
    assert wrong.mean() < 0.2  # 2/3 by chance
    assert torch.equal(parameters(network), before)


def test_all_layers_are_trained_and_one_seed_gives_one_network(tmp_path):
    network = backbone()
    images = Release(rows(tmp_path, range(12)), TRANSFORM, project.CLASSES)
    first, second = (finetune(network, images, [1.0] * 12, 3, TUNING) for _ in range(2))
    assert torch.equal(parameters(first), parameters(second))
    convolution = first.get_submodule("0.network.0").weight
    assert not torch.equal(convolution, network.network.get_submodule("0").weight)


def test_an_image_of_weight_zero_is_as_good_as_absent_and_the_scale_of_weights_says_nothing(tmp_path):
    everything = rows(tmp_path, range(18), owl=0.0)
    rest = {
        name: [v for v, w in zip(column, everything["weight"], strict=True) if w] for name, column in everything.items()
    }
    whole, some = (Release(frame, TRANSFORM, project.CLASSES) for frame in (everything, rest))
    tuned = finetune(backbone(), whole, whole.weights, 3, TUNING)
    alike = finetune(backbone(), some, [4.0] * len(some), 3, TUNING)
    assert torch.equal(parameters(tuned), parameters(alike))
    assert misclassified(tuned, whole)[2::3].all()  # owls were never seen


def test_a_set_without_weight_is_refused(tmp_path):
    images = Release(rows(tmp_path, range(3)), TRANSFORM, project.CLASSES)
    with pytest.raises(ValueError, match="weights must be positive for some samples, got none"):
        finetune(backbone(), images, [0.0] * 3, 3, TUNING)
