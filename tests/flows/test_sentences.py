"""Faults of folders, git and drivers that once cost a night: one sentence each, with the remedy."""

import os
from pathlib import Path

import fsspec
import polars as pl
import pytest

from diva.store import decisions, ledger, paths
from diva.store.decisions import Decision, Reviewable
from diva.versions import processes, repository
from diva.versions.processes import CommandError, git
from flows import deliveries, server
from flows.deliveries import Watched
from tests.faults.case import REFUSED, UNHARMED, Case
from tests.projects.checkout import Project

pytestmark = pytest.mark.xdist_group("flows")


@Case("links in the watched folder", "operation", "to a folder: a delivery; to nothing: it waits", UNHARMED).test
def test_a_dangling_link_waits_and_a_link_to_a_folder_is_a_delivery(fresh: Project) -> None:
    whole = fresh.deliver("d1", 200, 5)
    whole.rename(fresh.root / "elsewhere")
    Path("deliveries/d2").symlink_to(fresh.root / "elsewhere")
    Path("deliveries/d3.csv").symlink_to("nowhere.csv")
    Path("deliveries/d3.csv.complete").touch()
    waits = {arrival.name: arrival.waits for arrival in Watched("deliveries").arrivals()}
    assert waits == {"d2": "", "d3.csv": "it is a link that leads nowhere"}
    (arrival,) = deliveries.new(ledger.read(), "deliveries")
    assert deliveries.judge(ledger.read(), arrival).outcome == "d2 is b001"


@Case("a detached HEAD", "operation", "no branch that a night could commit to", REFUSED).test
def test_a_detached_head_is_refused_in_one_sentence(fresh: Project) -> None:
    repository.require_committed()
    fresh.git("checkout", "--quiet", "--detach")
    with pytest.raises(ValueError, match=r"^A branch must be checked out.*got a detached HEAD; `git switch BRANCH`"):
        repository.require_committed()


@Case("a missing signing key", "operation", "git is told to sign", REFUSED).test
def test_a_signing_key_that_is_missing_is_one_sentence(fresh: Project) -> None:
    fresh.git("config", "commit.gpgsign", "true")
    fresh.git("config", "user.signingkey", "0123456789ABCDEF")
    Path("data/metrics.txt").write_text("x")
    with pytest.raises(CommandError, match=r"^The key that git signs with must be here, got none"):
        git("commit", "--allow-empty", "--quiet", "--message", "x")


@Case("a failing hook", "operation", "it lets no commit pass", REFUSED).test
def test_a_hook_that_refuses_is_one_sentence(fresh: Project) -> None:
    hook = Path(".git/hooks/reference-transaction")
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(CommandError, match=r"^Hooks must let commits, tags and pushes of nights pass"):
        git("commit", "--allow-empty", "--quiet", "--message", "x")


@Case("dubious ownership", "operation", "the repository is another user's", REFUSED).test
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_owners_repository_is_one_sentence(fresh: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (fresh.root, fresh.root / ".git"):
        os.chown(path, 65534, 65534)
    monkeypatch.delenv("SUDO_UID", raising=False)
    with pytest.raises(CommandError, match=r"^The repository's folder must belong to who runs this"):
        git("status")


@Case("a missing driver", "operation", "of a bucket", REFUSED).test
def test_a_missing_driver_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "ERROR: unexpected error - s3 is supported, but requires 'dvc-s3' to be installed"
    assert processes.remedy(said).startswith("The driver of the DVC remote's storage must be installed, got none")
    assert processes.remedy("anything else") == ""

    def url_to_fs(url: str) -> None:
        raise ImportError(f"Install s3fs to access {url[:2]}")

    monkeypatch.setattr(fsspec.core, "url_to_fs", url_to_fs)
    with pytest.raises(ValueError, match=r"^The driver of s3://bucket/box must be installed, got none: Install s3fs"):
        Watched("s3://bucket/box")


@Case("a proxy in the environment", "operation", "it never stands before loopback", UNHARMED).test
def test_a_proxy_of_the_environment_never_stands_before_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.request import proxy_bypass_environment

    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "intern")
    monkeypatch.setenv("no_proxy", "")
    server.spare_loopback()
    assert os.environ["NO_PROXY"] == "intern,127.0.0.1,localhost"
    assert proxy_bypass_environment("127.0.0.1")


@Case("a note that is a formula", "operation", "it begins with =, +, - or @", UNHARMED).test
@pytest.mark.parametrize("note", ["=1+1", "+1", "-1", "@x", "'=quoted", "plain", None])
def test_a_note_is_no_formula_in_a_spreadsheet_and_comes_back_as_it_was(tmp_path: Path, note: str | None) -> None:
    file, about = tmp_path / "pending.csv", Reviewable({"s": "a"}, frozenset("a"), frozenset())
    decisions.write(file, [Decision("s", "reject", None, note)])
    cell = file.read_text().splitlines()[1].rpartition(",")[2]
    assert cell[:1] not in ("=", "+", "-", "@")
    if note != "'=quoted":  # an apostrophe of one's own before a formula goes
        assert decisions.read(file, about)["note"].to_list() == [note]


@Case("images in place that are gone", "operation", "or others, since a version was published", REFUSED).test
def test_verify_says_which_images_in_place_are_gone(published: Project) -> None:
    assert "gone" not in published.diva("verify").stdout
    first, second = pl.read_parquet(paths.TRAIN).filter(pl.col("path").str.starts_with("deliveries/"))["path"].head(2)
    Path(first).unlink()
    said = " ".join(published.diva("verify").stdout.split())
    assert f"1 image of curated@v0.1.0 is gone (first: {first})" in said
    Path(second).write_bytes(b"another")
    done = published.diva("verify", "--images", check=False)
    assert done.returncode == 1
    assert "2 images of curated@v0.1.0 are gone or changed" in " ".join(done.stdout.split())
