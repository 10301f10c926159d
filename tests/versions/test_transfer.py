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
