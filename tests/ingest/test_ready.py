import subprocess
import sys

import h5py
import numpy as np
import polars as pl
import pytest

from diva.ingest import inspection, project
from diva.ingest.ready import open_ready, read_ready
from diva.ingest.ready_columns import names_beside
from diva.store.features import FeatureWriter

X = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
Y = np.array(["cat", "dog", "cat"] * 3)
IDS = np.array([f"text-{row}" for row in range(9)])


def npz(folder, **arrays):
    np.savez(folder / "r.npz", **arrays)
    return folder / "r.npz"


def npy(folder, features, labels, **_):
    np.save(folder / "r.npy", features)
    np.save(folder / "r_labels.npy", labels)
    return folder / "r.npy"


def hdf5(folder, **arrays):
    with h5py.File(folder / "r.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = values.astype("S") if values.dtype.kind == "U" else values
    return folder / "r.h5"


def lists(folder, features, **columns):
    pl.DataFrame({**columns, "features": features.tolist()}).write_parquet(folder / "r.parquet")
    return folder / "r.parquet"


def arrays_of_parquet(folder, features, **columns):
    frame = pl.DataFrame({**columns, "features": features})
    assert isinstance(frame.schema["features"], pl.Array)
    frame.write_parquet(folder / "r.parquet")
    return folder / "r.parquet"


def wide(folder, features, **columns):
    pl.DataFrame({**columns, **{f"f{i}": features[:, i] for i in range(4)}}).write_parquet(folder / "r.parquet")
    return folder / "r.parquet"


@pytest.mark.parametrize("save", [npz, npy, hdf5, lists, arrays_of_parquet, wide])
def test_every_kind_of_file_holds_the_same(tmp_path, save):
    path = save(tmp_path, features=X, labels=Y, sample_id=IDS)
    features, labels, sample_id = open_ready(path)[:3]
    assert len(features) == 9
    assert np.array_equal(features[2:5], X[2:5])
    assert labels.tolist() == Y.tolist()
    assert (sample_id is None) if save is npy else (sample_id.tolist() == IDS.tolist())
    got = np.concatenate(list(read_ready([str(path)] * 4, [8, 0, 3, 3], 3)))
    assert np.array_equal(got, X[[8, 0, 3, 3]])


@pytest.mark.parametrize("save", [npz, npy, hdf5, lists])
def test_ids_are_not_required_and_labels_may_be_numbers(tmp_path, save):
    path = save(tmp_path, features=X, labels=np.arange(9) % 2)
    assert open_ready(path).labels.tolist() == list("010101010")
    assert open_ready(path).sample_id is None


def test_labels_that_are_missing_are_empty_and_whole_floats_are_numbers(tmp_path):
    assert open_ready(npz(tmp_path, features=X[:3], labels=np.array([1.0, np.nan, 2.5]))).labels.tolist() == [
        "1",
        "",
        "2.5",
    ]
    path = tmp_path / "r.parquet"
    pl.DataFrame({"labels": ["a", None], "features": [[1.0, 2.0], None]}).write_parquet(path)
    features, labels = open_ready(path)[:2]
    assert labels.tolist() == ["a", ""]
    assert np.isnan(features[1]).all()


def test_a_file_of_our_own_gives_its_class_names(tmp_path):
    writer = FeatureWriter(tmp_path / "own.h5", {"backbone": "none"}, "float32")
    writer.append(X)
    writer.finish(Y.tolist(), IDS.tolist())
    features, labels, sample_id = open_ready(tmp_path / "own.h5")[:3]
    assert np.array_equal(features[0:9], X)
    assert labels.tolist() == Y.tolist()
    assert sample_id.tolist() == IDS.tolist()


@pytest.mark.parametrize("save", [npz, hdf5])
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": X}, "labels missing"),
        ({"x_train": X, "y_train": np.arange(9)}, "features and labels missing, got x_train, y_train"),
        ({"features": X[:, 0], "labels": Y}, r"shape \(n, p\), got \(9,\)"),
        ({"features": X[None], "labels": Y}, r"shape \(n, p\), got \(1, 9, 4\)"),
        ({"features": X[:, :0], "labels": Y}, r"at least 1 column, got \(9, 0\)"),
        ({"features": X[:5], "labels": Y}, r"one entry per row \(5\), got 9"),
        ({"features": X, "labels": Y, "sample_id": IDS[:3]}, "sample_id of .* must have one entry per row"),
        ({"features": X, "labels": np.zeros((9, 2))}, r"labels of .* must have shape \(n,\)"),
        ({"features": X + 1j, "labels": Y}, "real numbers, got complex"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, save, arrays, message):
    with pytest.raises(ValueError, match=message):
        open_ready(save(tmp_path, **arrays))


def test_names_beside_numbers_that_are_labels_are_said(tmp_path):
    names = {"features": X, "class_names": np.array(["cat", "dog", "emu"])}
    for labels, said in ((np.arange(9) % 3, "class_names"), (Y, "")):
        path = npz(tmp_path, labels=labels, **names)
        assert names_beside(path) == said
        notes = " ".join(inspection.inspect_source(str(path), {}, "--core").notes)
        assert ("save class_names[labels] as labels" in notes) == bool(said)


def test_python_objects_are_refused(tmp_path):
    np.savez(tmp_path / "o.npz", features=X, labels=np.array(["a", None, 3] * 3, dtype=object))
    with pytest.raises(ValueError, match=r"labels of .* without Python objects"):
        open_ready(tmp_path / "o.npz")
    npy(tmp_path, np.array([[None, 1]], dtype=object), Y[:1])
    with pytest.raises(ValueError, match="without Python objects"):
        open_ready(tmp_path / "r.npy")


def test_lists_of_several_lengths_and_columns_with_a_gap_are_refused(tmp_path):
    path = tmp_path / "r.parquet"
    pl.DataFrame({"labels": ["a", "b"], "features": [[1.0], [1.0, 2.0]]}).write_parquet(path)
    with pytest.raises(ValueError, match="one length, got 2 numbers in most rows, 1 in row 0"):
        open_ready(path)
    pl.DataFrame({"labels": ["a"], "f0": [1.0], "f2": [1.0]}).write_parquet(path)
    with pytest.raises(ValueError, match="f1 is missing"):
        open_ready(path)
    pl.DataFrame({"labels": ["a"], "features": ["text"]}).write_parquet(path)
    with pytest.raises(ValueError, match="list of numbers"):
        open_ready(path)
    pl.DataFrame({"labels": ["a"], "f0": ["text"]}).write_parquet(path)
    with pytest.raises(ValueError, match="real numbers"):
        open_ready(path)


@pytest.mark.parametrize("name", ["r.npz", "r.npy", "r.parquet", "r.h5", "r.hdf5", "r.txt"])
def test_damaged_and_absent_files_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="must"):
        open_ready(tmp_path / name)
    (tmp_path / name).write_bytes(b"PK\3\4 not what it says")
    (tmp_path / "r_labels.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="must"):
        open_ready(tmp_path / name)


def test_labels_beside_an_npy_are_asked_for_by_name(tmp_path):
    np.save(tmp_path / "r.npy", X)
    with pytest.raises(ValueError, match=r"beside it in r_labels\.npy"):
        open_ready(tmp_path / "r.npy")


def test_rows_beyond_the_file_are_refused(tmp_path):
    path = npz(tmp_path, features=X, labels=Y)
    with pytest.raises(ValueError, match="must have row 9, got 9 rows"):
        list(read_ready([str(path)], [9]))
    assert list(read_ready([], [])) == []


def test_the_real_pack_names_what_it_holds(shared_data):
    with pytest.raises(ValueError, match="got x_train, y_train"):
        open_ready(shared_data / "features" / "flowers102_mobilenetv2.npz")


CLASSES = np.array(["ant", "bee", "cow"], dtype=h5py.string_dtype())
CODES = np.arange(9) % 3


def coded(folder, labels):
    with h5py.File(folder / "c.h5", "w") as file:
        file["features"], file["labels"], file["classes"] = X, labels, CLASSES
    return folder / "c.h5"


@pytest.mark.parametrize("labels", [CODES, CODES.astype(float), CLASSES[CODES]])
def test_labels_beside_classes_are_codes_or_names(tmp_path, labels):
    assert open_ready(coded(tmp_path, labels)).labels.tolist() == ["ant", "bee", "cow"] * 3


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (CODES - 1, r"codes 0 to 2 of its classes, or their names, got -1 in row 0\."),
        (CODES + 1, "got 3 in row 2; count them from 0"),
        (CODES + 0.5, r"got 0\.5 in row 0"),
        (np.where(CODES == 1, np.nan, CODES), "got nan in row 1"),
    ],
)
def test_codes_that_are_no_classes_are_refused_with_their_row(tmp_path, labels, message):
    with pytest.raises(ValueError, match=message):
        open_ready(coded(tmp_path, labels))


def test_an_enumeration_gives_its_names_and_a_column_of_labels_is_one_label_a_row(tmp_path):
    kind = h5py.enum_dtype({"ant": 0, "bee": 1, "cow": 2}, basetype="i1")
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["features"] = X
        file.create_dataset("labels", data=CODES.astype("i1"), dtype=kind)
    assert open_ready(tmp_path / "e.h5").labels.tolist() == ["ant", "bee", "cow"] * 3
    assert open_ready(npz(tmp_path, features=X, labels=Y[:, None])).labels.tolist() == Y.tolist()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"embedding": X.tolist(), "label": Y}, "save embedding as features and label as labels"),
        ({"labels": Y, **{f"dim_{i}": X[:, i] for i in range(4)}}, "got labels, dim_0.*call its columns f0 to f3, or"),
        ({"labels": [{"ant": 1}] * 9, "features": X.tolist()}, r"one text or number per row, got Struct"),
    ],
)
def test_what_others_call_features_and_labels_is_recognised(tmp_path, columns, message):
    pl.DataFrame(columns).write_parquet(tmp_path / "r.parquet")
    with pytest.raises(ValueError, match=message):
        open_ready(tmp_path / "r.parquet")


def test_records_groups_objects_and_foreign_encodings_each_have_a_message(tmp_path):
    records = np.zeros(9, [("features", "f4", 4), ("label", "U4")])
    with pytest.raises(ValueError, match="records of features, label; take it out"):
        open_ready(npy(tmp_path, records, Y))
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file["train/features"] = X
    with pytest.raises(ValueError, match="got train/"):
        open_ready(tmp_path / "g.h5")
    with pytest.raises(ValueError, match=r"save it as numbers or text, such as \.astype\(str\)"):
        open_ready(npz(tmp_path, features=X, labels=Y.astype(object)))
    with pytest.raises(ValueError, match="UTF-8, got the byte 0xe4 in row 2; write it in UTF-8"):
        open_ready(npz(tmp_path, features=X, labels=np.array([b"cat", b"dog", b"K\xe4se"] * 3)))


def test_a_file_of_users_is_never_to_be_deleted(tmp_path):
    whole = coded(tmp_path, CODES).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"whole HDF5 file.*deliver it again, as it was written") as refused:
        open_ready(tmp_path / "cut.h5")
    assert "delete" not in str(refused.value)


def test_a_file_that_another_program_writes_is_said_to_be_open_there(tmp_path):
    path = coded(tmp_path, CODES)
    program = "import h5py, sys; file = h5py.File(sys.argv[1], 'a'); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        with pytest.raises(ValueError, match="another program has it so: close it"):
            open_ready(path)
        writer.communicate()
    assert len(open_ready(path).labels) == 9


def test_several_labels_a_row_are_lists_or_rows_of_0_and_1(tmp_path):
    x, hot, names = np.eye(3, dtype=np.float32), np.array([[1, 1], [0, 0], [0, 1]]), ["dog", "cat"]
    np.savez(tmp_path / "hot.npz", features=x, labels=hot, classes=names)
    with h5py.File(tmp_path / "hot.h5", "w") as file:
        file["features"], file["labels"], file["classes"] = x, hot, names
    lists = pl.DataFrame({"features": x.tolist(), "labels": [["dog", "cat"], [], ["cat"]]})
    lists.write_parquet(tmp_path / "lists.parquet")
    pl.DataFrame({"features": x.tolist(), "labels": hot.tolist()}).write_parquet(tmp_path / "hot.parquet")
    for name in ("hot.npz", "hot.h5", "lists.parquet"):
        assert open_ready(tmp_path / name).labels.tolist() == ["cat|dog", "|", "cat"], name
    assert open_ready(tmp_path / "hot.parquet").labels.tolist() == ["0|1", "|", "1"]
    np.savez(tmp_path / "bad.npz", features=x, labels=hot, classes=["a|b", "c"])
    with pytest.raises(ValueError, match=r"classes of .* must name each of 2 columns of labels, without bars"):
        open_ready(tmp_path / "bad.npz")


def test_ids_that_name_other_rows_in_another_source_are_refused(tmp_path):
    """Tables counted from 0 each: all but the first of each number would be taken for delivered already."""
    rows = np.random.default_rng(0).normal(size=(40, 4))
    for name, part in (("core", slice(0, 20)), ("pool", slice(20, 40)), ("same", slice(0, 10))):
        values = rows[part]
        ids = np.arange(len(values)).astype(str)
        np.savez(tmp_path / f"{name}.npz", features=values, labels=np.arange(len(values)) % 2, sample_id=ids)
    core, pool, same = (str(tmp_path / f"{name}.npz") for name in ("core", "pool", "same"))
    with pytest.raises(ValueError, match=r"--pool: .*sample_id, got .*\(20 of 20\), which name other rows of .*core"):
        project.gather(core, [pool], "none")
    assert project.gather(core, [same], "none")["b001"].samples == 10
