"""A project that is a clone of the repository takes its newer programs, and keeps its own data and settings."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.projects.checkout import Project

pytestmark = pytest.mark.xdist_group("versions")


def test_a_clone_with_published_rounds_takes_programs_and_keeps_ledger_data_and_settings(
    two_versions: Project, tmp_path: Path
) -> None:
    shutil.copytree(two_versions.root, tmp_path / "project", symlinks=True)
    project, there = Project(tmp_path / "project"), Project(tmp_path / "repository")
    start = project.git("rev-list", "--max-parents=0", "HEAD")
    project.git("clone", "--quiet", "--no-tags", str(project.root), str(there.root))
    there.git("checkout", "--quiet", "-B", "main", start)
    refused = project.run("diva", "upgrade", check=False)
    assert "--from must be a branch of the repository" in refused.stderr
    project.git("remote", "add", "upstream", str(there.root))

    params = yaml.safe_load((there.root / "params.yaml").read_text())
    params["extend"] |= {"per_round": 7, "fresh": 1}
    params["duplicates"] |= {"fresh": 1}  # published rounds rest on this section: a key more would make them anew
    for name, text in {
        "params.yaml": yaml.safe_dump(params | {"later": {"seed": 0}}),
        "diva/fresh.py": '"""New."""\n',
        "stages/fit.py": (there.root / "stages/fit.py").read_text() + "# newer\n",
        "data/ledger.yaml": "batches: {}\n",
        "data/fresh.yaml": "{}\n",
    }.items():
        (there.root / name).parent.mkdir(exist_ok=True)
        (there.root / name).write_text(text)
        there.git("add", "--force", name)
    there.git("-c", "user.name=R", "-c", "user.email=r@example.com", "commit", "--quiet", "--message", "Newer")

    own, shared = yaml.safe_load((project.root / "params.yaml").read_text()), ("data/ledger.yaml", "dvc.lock")
    kept = {name: (project.root / name).read_bytes() for name in shared}
    head = project.git("rev-parse", "HEAD")
    assert "+# newer" in project.run("diva", "upgrade", "--from", "upstream/main", "--diff").stdout
    assert project.git("rev-parse", "HEAD") == head
    said = " ".join(project.run("diva", "upgrade", "--from", "upstream/main", "--yes").stdout.split())
    assert "1, the newest" in said
    assert "setting extend.fresh: 1" in said
    assert kept == {name: (project.root / name).read_bytes() for name in shared}
    assert not (project.root / "data/fresh.yaml").exists()
    assert (project.root / "diva/fresh.py").is_file()
    own["extend"]["fresh"], own["later"] = 1, {"seed": 0}
    assert yaml.safe_load((project.root / "params.yaml").read_text()) == own
    assert project.git("status", "--porcelain", "--untracked-files=no") == ""
    assert project.git("log", "-1", "--format=%s") == "Upgrade to upstream/main"
    assert "Go on" not in project.run("diva", "upgrade", "--from", "upstream/main").stdout, "nothing is missing"
    assert "as published" in project.run("diva", "verify", "--all").stdout

    for each, line in ((there, "# theirs\n"), (project, "# ours\n")):
        (each.root / "stages/fit.py").write_text((each.root / "stages/fit.py").read_text() + line)
        identity = ("-c", "user.name=R", "-c", "user.email=r@example.com")
        each.git(*identity, "commit", "--quiet", "--all", "--message", "Both")
    head = project.git("rev-parse", "HEAD")
    refused = project.run("diva", "upgrade", "--from", "upstream/main", "--yes", check=False)
    assert "stages/fit.py must be put together by hand" in refused.stderr
    assert project.git("rev-parse", "HEAD") == head
    assert (project.root / "stages/fit.py").read_text().endswith("# ours\n")
    assert project.git("status", "--porcelain", "--untracked-files=no") == ""
