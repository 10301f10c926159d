"""Where there is no fork, no fcntl and no Unix signal: library, estimators and the commands that start no night."""

import subprocess
import sys

STUB = """
import asyncio, concurrent.futures, http.server, multiprocessing, os, pathlib, pkgutil, shutil, signal, socket
import subprocess, sys, tempfile
import filelock, h5py, numpy, PIL.Image, polars, psutil, pydantic, scipy.linalg, scipy.stats, sklearn.linear_model
import torch, torchvision, typer, uvicorn, yaml
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty"):
    sys.modules[name] = None
for name in ("fork", "getuid", "geteuid", "killpg", "setsid", "sched_getaffinity", "pidfd_open", "getpgid", "waitid"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGPIPE", "pthread_sigmask"):
    if hasattr(signal, name):
        delattr(signal, name)
git = shutil.which("git")
shutil.which = lambda program, *rest, **more: git if program == "git" else None
sys.platform = "win32"
"""


WORK = """
import importlib
from sklearn.datasets import load_digits
import diva

faults = {}
for each in pkgutil.walk_packages(diva.__path__, "diva."):
    try:
        importlib.import_module(each.name) if not each.name.endswith("__main__") else None
    except Exception as error:
        faults[each.name] = error
assert faults == {}
X, y = load_digits(return_X_y=True)
wrong, y[:3] = y[:3].copy(), 7
assert diva.detect(X[:500], y[:500]).flagged[:3].all()
assert diva.DivaClassifier().fit(X[:300], y[:300]).score(X[300:500], y[300:500]) > 0.7
for name, part in (("core", slice(0, 200)), ("pool", slice(200, 400)), ("test", slice(400, 500))):
    numpy.savez(f"{name}.npz", features=X[part].astype("float32"), labels=y[part])
from diva.commands.cli import app
app(["init", "--core", "core.npz", "--pool", "pool.npz", "--test", "test.npz"], standalone_mode=False)
app(["plan"], standalone_mode=False)
"""


def test_modules_estimators_and_commands_but_those_of_nights_work(tmp_path):
    command = [sys.executable, "-c", STUB + WORK]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "core.npz: 200 rows of 64 features, 10 classes" in " ".join(done.stdout.split())
    assert (tmp_path / "data" / "ledger.yaml").is_file()
