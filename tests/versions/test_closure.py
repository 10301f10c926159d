import json
from pathlib import Path

import pytest

from diva.versions import closure


def test_files_are_followed_through_packages_functions_and_circles(source_tree):
    expected = ["diva/deep/second.py", "diva/first.py", "diva/lazy.py", "stages/fit.py"]
    assert closure.imported_files([Path("stages/fit.py")]) == expected


def test_a_file_that_is_no_python_is_named_with_its_line(source_tree):
    Path("diva/lazy.py").write_text("fine = 1\ndef def\n")
    with pytest.raises(ValueError, match=r"diva/lazy\.py:2 must be Python"):
        closure.imported_files([Path("stages/fit.py")])


def test_what_was_recorded_is_read_by_lock_and_cache(source_tree):
    stored = Path(".dvc/cache/files/md5/ab") / ("c" * 30)
    stored.parent.mkdir(parents=True)
    stored.write_text('{"revision": 1}')
    outs = [{"path": "data/code/extract.json", "md5": "ab" + "c" * 30}, {"path": "data/code/fit.json", "md5": "d" * 32}]
    Path("dvc.lock").write_text(json.dumps({"stages": {"code": {"outs": outs}}}))
    assert closure.recorded_code() == {"extract": {"revision": 1}}
