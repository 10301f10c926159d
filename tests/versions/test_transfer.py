"""Pushes after interrupted ones."""

import subprocess
import sys
from pathlib import Path

import yaml

from tests.faults.case import UNHARMED, Case

INTERRUPTED = """
import os
from dvc_data.index import collect
whole = collect._collect_from_index
def first_alone(cache, *rest, **options):
    whole(cache, *rest, **options)
    cache.commit()
    os._exit(9)
collect._collect_from_index = first_alone
from dvc.cli import main
main(["push"])
"""


@Case("a killed push", "operation", "while DVC lists what to push", UNHARMED).test
def test_a_push_after_one_that_was_killed_while_it_made_its_list_is_whole(tmp_path, monkeypatch):
    """DVC itself would push what the first had listed, and say that all is done."""
    monkeypatch.chdir(tmp_path)
    for command in (
        ("init", "--no-scm", "--quiet"),
        ("remote", "add", "--quiet", "-d", "local", str(tmp_path / "remote")),
    ):
        subprocess.run([sys.executable, "-m", "dvc", *command], check=True)
    stages = {name: {"cmd": f"echo {name} > {name}", "outs": [name]} for name in ("a", "b", "c")}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet"], check=True)
    assert subprocess.run([sys.executable, "-c", INTERRUPTED], check=False).returncode == 9
    subprocess.run([sys.executable, "-m", "diva.versions.transfer", "push"], check=True)
    stored = {path.read_text() for path in (tmp_path / "remote").rglob("*") if path.is_file()}
    assert stored == {"a\n", "b\n", "c\n"}


def test_a_reproduction_writes_the_lock_that_dvc_writes(tmp_path, monkeypatch):
    """Of everything that a parameter may be, first and after other stages."""
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], check=True)
    params = {"a": [1e-5, None, "null", "1.0", True, {"x": ""}], "b": "0x1: " + "word " * 30, "c": "é\n\ttab 'quote'"}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    stages = {name: {"cmd": f"echo {name} > {name}", "params": ["a", "b", "c"], "outs": [name]} for name in ("a", "b")}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    locks = []
    for module in ("dvc", "diva.versions.reproduction"):
        Path("dvc.lock").unlink(missing_ok=True)
        subprocess.run([sys.executable, "-m", module, "repro", "--quiet", "--force"], check=True)
        locks.append(Path("dvc.lock").read_bytes())
    assert locks[0] == locks[1]
    assert b"1e-05" in locks[0]
