"""The column that says what is left out together, in lists and ready features."""

import numpy as np
import pytest
from PIL import Image

from diva.ingest.sources import open_source


@pytest.mark.parametrize("column", ["group", "groups"])
def test_a_list_names_groups(tmp_path, column):
    for number in range(4):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    lines = [f"{number}.png,{'ab'[number % 2]},{group}" for number, group in enumerate(["p1", "p1", "", "2.0"])]
    (tmp_path / "list.csv").write_text(f"path,label,{column}\n" + "\n".join(lines), encoding="utf-8")
    samples = open_source(str(tmp_path / "list.csv"), {}).read(tmp_path).samples
    assert samples["group"].to_list() == ["p1", "p1", None, "2.0"]


@pytest.mark.parametrize("column", ["group", "groups"])
def test_ready_features_name_groups(tmp_path, column):
    groups = {column: np.array([7, 7, 8, 8])}
    np.savez(tmp_path / "f.npz", features=np.eye(4), labels=np.array(["a", "b"] * 2), **groups)
    samples = open_source(str(tmp_path / "f.npz"), {}).read(tmp_path).samples
    assert samples["group"].to_list() == ["7", "7", "8", "8"]
