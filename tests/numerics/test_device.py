import pytest
import torch

from diva.numerics import device
from diva.numerics.chunks import chunk_rows


@pytest.mark.parametrize("width", [1, 64, 513, 1281, 100_000])
def test_chunks_fit_the_cache_within_bounds(width):
    size = device.chunk_size(width, "cpu")
    assert 1024 <= size <= 16_384
    assert size & (size - 1) == 0, "a power of two"
    assert size == 1024 or 2 * size * width * 4 <= device.cache()


def test_a_larger_memory_takes_larger_chunks_up_to_a_bound():
    assert [chunk_rows(512, 2**size) for size in (10, 24, 40)] == [1024, 4096, 16_384]
    assert chunk_rows(512, 2**40, most=2**18) == 2**18


def test_a_system_that_does_not_tell_its_cache_gets_a_typical_one(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "CACHES", tmp_path)
    assert device.cache() == device.TYPICAL
    for name, size in (("index0", "32K"), ("index3", "24M")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "size").write_text(size + "\n")
    assert device.cache() == 24 * 2**20


@pytest.mark.parametrize(
    ("capability", "dtype"), [((9, 0), torch.float64), ((8, 0), torch.float64), ((8, 6), torch.float32)]
)
def test_float64_is_chosen_where_the_card_has_it_at_full_rate(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert device.precision("cuda") == dtype
    assert device.precision("cpu") == torch.float32


def test_cards_are_named_as_the_environment_names_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device.cards() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8f1b")
    assert device.cards() == ["3", "GPU-8f1b"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert device.cards() == []


def test_a_device_without_a_number_is_every_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for count, expected in ((1, ["cuda"]), (3, ["cuda:0", "cuda:1", "cuda:2"])):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert device.expand("auto") == device.expand("cuda") == expected
        assert device.expand("cuda:1") == ["cuda:1"]
        assert device.expand("cpu") == ["cpu"]


def test_devices_by_name():
    assert device.resolve("cpu") == "cpu"
    assert device.resolve("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="must be auto, cpu or cuda"):
        device.resolve("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_absent_gpu_is_named():
    with pytest.raises(ValueError, match="without a usable GPU"):
        device.resolve("cuda")


def test_a_chunk_chosen_on_a_card_is_cut_down_on_the_processor():
    assert device.at_most(2**18, "cpu") == 16_384
    assert device.at_most(1000, "cpu") == 1000
    assert device.at_most(2**18, "cuda") == 2**18
