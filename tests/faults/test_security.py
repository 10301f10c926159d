"""What comes from outside is never run, and what is secret never shown."""

import ast
import html
import io
import logging
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt

from diva.ingest import ready
from diva.store import ledger, paths
from diva.text.redaction import HIDDEN, holds_secret, redacted
from diva.versions import pipeline, processes
from diva.vision import backbones
from flows import inspection, server
from flows.options import Options, parse
from tests.conftest import ROOT
from tests.faults.case import REFUSED, UNHARMED, Case
from tests.faults.conftest import Undisturbed
from tests.projects import real_stages as project

STRUCK = Path("struck")
SECRET = "hunter2-s3cr3t"  # noqa: S105 - of nobody
CODE = [path for folder in ("diva", "stages", "flows", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]


class Strike:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(STRUCK),)


def pickled_npy() -> Path:
    np.save("bad.npy", np.array([Strike()] * 3, dtype=object), allow_pickle=True)
    np.save("bad_labels.npy", np.array(["a", "b", "a"]))
    return Path("bad.npy")


def pickled_labels() -> Path:
    np.save("bad.npy", np.eye(3))
    np.save("bad_labels.npy", np.array([Strike()] * 3, dtype=object), allow_pickle=True)
    return Path("bad.npy")


def pickled_npz() -> Path:
    np.savez("bad.npz", features=np.array([[Strike()] * 2] * 3, dtype=object), labels=np.array(["a", "b", "a"]))
    return Path("bad.npz")


def pickle_as_npy() -> Path:
    Path("bad.npy").write_bytes(pickle.dumps(Strike()))
    np.save("bad_labels.npy", np.array(["a", "b", "a"]))
    return Path("bad.npy")


def member_pickle() -> Path:
    content = io.BytesIO()
    np.save(content, np.array(["a", "b", "a"]))
    with zipfile.ZipFile("bad.npz", "w") as archive:
        archive.writestr("features.npy", pickle.dumps(Strike()))
        archive.writestr("labels.npy", content.getvalue())
    return Path("bad.npz")


def planted(name: str, what: str, plant: Callable[[], Path]) -> object:
    return Case(name, "security", what, REFUSED).param(plant)


PICKLES = [
    planted("a pickle in an npy", "features that are Python objects", pickled_npy),
    planted("a pickle in the labels", "labels that are Python objects", pickled_labels),
    planted("a pickle in an npz", "an array of Python objects", pickled_npz),
    planted("a pickle as an npy", "a pickle under the name of an array", pickle_as_npy),
    planted("a pickle in the archive", "a pickle under the name of a member", member_pickle),
]


@pytest.mark.parametrize(("fault", "plant"), PICKLES)
def test_a_pickle_is_refused_and_never_loaded(pack: Undisturbed, fault: Case, plant: Callable[[], Path]) -> None:
    path = plant()
    with pytest.raises(ValueError, match="without Python objects") as told:
        ready.open_ready(path)
    assert path.stem in str(told.value)
    with pytest.raises(ValueError, match="without Python objects"):
        project.taste(path)
    assert not STRUCK.exists()
    project.half_night("good.npz")
    project.night("more.npz")
    assert project.same(project.released(), pack.released)


@Case("a pickle as weights", "security", "a state dict that calls a function when it is loaded", REFUSED).test
def test_weights_that_would_run_code_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Strike()}, "bad.pth")
    Path("plain.pth").write_bytes(pickle.dumps({"weight": Strike()}))
    for name in ("bad.pth", "plain.pth"):
        with pytest.raises(ValueError, match=rf"weights must be a state dict .*{name}"):
            backbones.load_backbone("tests.projects.tiny_network:network", name, size=12)
    assert not STRUCK.exists()


FORBIDDEN = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads", "joblib.load", "dill.load",
    "marshal.loads", "marshal.load", "shelve.open", "eval", "exec", "os.system", "os.popen", "yaml.unsafe_load",
    "yaml.full_load", "tempfile.mktemp", "subprocess.getoutput", "pl.DataFrame.deserialize", "torch.hub.load",
}  # fmt: skip
ASSUMED = {"np.load": ("allow_pickle", False), "torch.load": ("weights_only", True)}
DENIED = {"allow_pickle": True, "weights_only": False, "shell": True, "trust_remote_code": True, "verify": False}


def calls(text: str) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_code_loads_pickles_or_runs_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for call in calls(text):
        name, options = ast.unparse(call.func), {word.arg: word.value for word in call.keywords}
        assert name not in FORBIDDEN, f"{path}:{call.lineno}"
        assert not name.endswith((".extractall", ".unpack_archive")), f"{path}:{call.lineno}: see diva.ingest.archives"
        if name == "yaml.load" and "import yaml" in text:  # another of that name is ruamel's, told to be safe
            loader = ast.unparse(options.get("Loader", call.args[1] if len(call.args) > 1 else call))
            assert "BaseLoader" in loader or "SafeLoader" in loader, f"{path}:{call.lineno}: only plain values"
        if name in ASSUMED:
            key, value = ASSUMED[name]
            assert isinstance(options.get(key), ast.Constant), f"{path}:{call.lineno}: say {key}={value}"
            assert options[key].value is value, f"{path}:{call.lineno}"  # type: ignore[attr-defined]
        for key, value in DENIED.items():
            given = options.get(key)
            assert not (isinstance(given, ast.Constant) and given.value is value), (
                f"{path}:{call.lineno}: {key}={value}"
            )


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    for line in ("pickle.loads(x)", "np.load(x)", "f(shell=True)", "import yaml; yaml.load(x)", "t.extractall()"):
        bad = tmp_path / "bad.py"
        bad.write_text(line, encoding="utf-8")
        with pytest.raises((AssertionError, AttributeError)):
            test_no_code_loads_pickles_or_runs_text(bad)


def test_everything_that_listens_listens_on_loopback() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in CODE)
    assert "0.0.0.0" not in text  # noqa: S104
    assert server.HOST == "127.0.0.1"
    assert "--host" in server.command(1)
    assert re.findall(r"https?://([^/:\s\"]+)", (ROOT / "prefect.toml").read_text()) == ["127.0.0.1"]


HIDING = [
    f"https://user:{SECRET}@host.example/x.git",
    f"https://{SECRET}@host.example/x.git",
    f"s3://key:{SECRET}@bucket/path",
    f"https://host.example/x?X-Amz-Signature={SECRET}&a=b",
    f"https://host.example/x?sig={SECRET}",
    f"https://host.example/x?a=b&access_token={SECRET}",
    f"ssh://user:{SECRET}@host.example/x",
    f"password = {SECRET}",
    f"secret_access_key: {SECRET}",
    f"'token': '{SECRET}'",
    f"Authorization: Basic {SECRET}",
]


@pytest.mark.parametrize("text", HIDING)
def test_a_secret_is_hidden_and_nothing_else(text: str) -> None:
    shown = redacted(f"before {text} after")
    assert SECRET not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert HIDDEN in shown


@pytest.mark.parametrize(
    "text",
    ["https://host.example/x.tar.gz#sha256=" + "0" * 64, "git@host.example:x.git", "ssh://git@host.example/x.git",
     "Running stage 'download@core':", "s3://bucket/path", "mail a@b.example", "12 of 60 images, 3 images/s"],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text
    assert not holds_secret(text)


def test_values_of_secret_variables_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert redacted(f"signed with {SECRET}.") == f"signed with {HIDDEN}."


@Case("a password in a source", "security", "a URL with a login, offered as a source", REFUSED).test
def test_a_login_in_a_source_never_enters_the_ledger(pack: Undisturbed) -> None:
    before = project.files()
    for url in (f"https://user:{SECRET}@host.example/x.zip", f"https://host.example/x.zip?token={SECRET}"):
        with pytest.raises(ValueError, match=r"must carry no password.*netrc") as told:
            project.accept(f"{url}#sha256={'0' * 64}")
        assert SECRET not in str(told.value)
    assert project.files() == before
    project.half_night("good.npz")
    project.night("more.npz")
    assert project.same(project.released(), pack.released)


@Case("a password in the watched URL", "security", "an fsspec URL with a login, as parameter of a night", REFUSED).test
def test_a_login_in_the_watched_folder_is_refused_without_being_said(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sftp://user:{SECRET}@host.example/in"
    with pytest.raises(ValueError, match="must carry no password") as told:
        Options(watch=url)
    assert SECRET not in str(told.value)
    with pytest.raises(SystemExit):
        parse("flows.nightly", "", ["--watch", url])
    said = capsys.readouterr().err
    assert "must carry no password" in said
    assert SECRET not in said


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with DVC in it, both with a remote that wants a login and is not there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    processes.git("init", "--quiet")
    processes.git("remote", "add", "origin", f"http://user:{SECRET}@127.0.0.1:9/x.git")
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text(
        "[core]\n    analytics = false\n    check_update = false\n    remote = far\n"
        f"['remote \"far\"']\n    url = http://user:{SECRET}@127.0.0.1:9/x\n    password = {SECRET}\n"
    )
    Path("a.txt").write_text("a")
    return tmp_path


@Case(
    "a password in a git remote", "security", "a push to a remote whose URL has a login, and which is gone", REFUSED
).test
def test_a_login_of_a_git_remote_is_in_no_error_and_no_log(repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    processes.git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty", "--message", "a")
    with caplog.at_level(logging.DEBUG), pytest.raises(processes.CommandError) as told:
        processes.git_push("origin", "HEAD:main")
    assert "failed" in str(told.value)
    assert SECRET not in str(told.value) + caplog.text
    with pytest.raises(processes.CommandError) as told:
        processes.git("fetch", "origin")
    assert SECRET not in str(told.value)


@Case("a password in a DVC remote", "security", "a push to a DVC remote with a login, which is gone", REFUSED).test
def test_a_login_of_a_dvc_remote_is_in_no_error_and_no_log(repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "add", "--quiet", "a.txt"], check=True)
    with caplog.at_level(logging.DEBUG), pytest.raises(processes.CommandError) as told:
        pipeline.dvc("push", "--verbose")
    assert "failed" in str(told.value)
    assert SECRET not in str(told.value) + caplog.text


def test_the_token_of_the_server_is_this_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = server.token()
    assert first == server.token()
    assert len(first) > 40
    for path in (server.TOKEN, server.PROFILES):
        assert path.stat().st_mode & 0o777 == 0o600
    assert first in server.PROFILES.read_text()
    assert first.partition(":")[2] not in " ".join(server.command(4200))


@Case("a delivery that crashes its reader", "security", "bytes that kill the process which parses them", REFUSED).test
def test_a_crash_while_a_delivery_is_looked_at_refuses_it(pack: Undisturbed, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(inspection, "COMMAND", (sys.executable, "-c", "import os; os.abort()"))
        with pytest.raises(ValueError, match=r"bad\.h5 must be readable, but its reader crashed \(Aborted\)"):
            inspection.checksum(pack.root, "bad.h5")
    project.half_night("good.npz")
    project.night("more.npz")
    assert project.same(project.released(), pack.released)


@Case(
    "a name that steers a terminal", "security", "an escape sequence, and Markdown of an image in the header", REFUSED
).test
def test_a_hostile_name_is_text_wherever_it_is_told(
    pack: Undisturbed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows import artifacts, deliveries, terminal

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    watch = pack.root / "deliveries"
    watch.mkdir()
    name = "\x1b]0;owned\x07\x9b2J<b>_x_.csv"
    (watch / name).write_text("![](https://host.example/x.png),b\n1,2\n")
    (watch / f"{name}.complete").touch()
    (arrival,) = deliveries.new(ledger.read(), "deliveries")
    verdict = deliveries.judge(ledger.read(), arrival)
    assert verdict.book is None
    assert "![](https://host.example/x.png)" in verdict.outcome, "the reason names the columns"
    assert not set("\x1b\x07\x9b") & set(verdict.outcome)
    page = MarkdownIt("commonmark").render(artifacts.listed([verdict.outcome]))
    assert not re.search("<(?!/?(ul|li)>)", page), page
    assert html.unescape(page).count("![](https://host.example/x.png)") == 1
    terminal.say(name)
    with pytest.raises(SystemExit):
        terminal.stop(ValueError(name))
    told = capsys.readouterr()
    assert not set("\x1b\x07\x9b") & set(told.out + told.err)
    assert told.out.count("owned") == told.err.count("owned") == 1
    project.half_night("good.npz")
    project.night("more.npz")
    assert project.same(project.released(), pack.released)


@Case(
    "a delivery without an end", "security", "bytes that keep the process which reads them busy for ever", REFUSED
).test
def test_a_look_that_does_not_end_refuses_the_delivery(pack: Undisturbed, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(inspection, "COMMAND", (sys.executable, "-c", "import signal\nwhile True: signal.pause()"))
        patch.setattr(inspection, "LIMIT", 0.2)
        with pytest.raises(ValueError, match=r"endless\.h5 must be readable within .*took too long"):
            inspection.checksum(pack.root, "endless.h5")
    project.half_night("good.npz")
    project.night("more.npz")
    assert project.same(project.released(), pack.released)


@Case(
    "a delivery looked at from outside",
    "security",
    "a good one and a broken one, each in a process of its own",
    UNHARMED,
).test
def test_a_look_from_outside_gives_the_checksum_or_the_reason(
    pack: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    Path("bad.npz").write_bytes(b"PK")
    assert ledger.read(paths.LEDGER).latest == "r000"
    assert inspection.main("good.npz") == 0
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", inspection.checksum(pack.root, "good.npz"))
    assert inspection.main("bad.npz") == 1
