"""Every command of README, CONTRIBUTING and the site, as printed: in a fresh clone, with PATH and HOME alone."""

import base64
import json
import re
import shutil
import time
import urllib.request
from pathlib import Path

import polars as pl
import pytest

from tests.as_printed.commands import printed
from tests.as_printed.newcomer import Newcomer, cloned, installed
from tests.faults.case import UNHARMED, Case
from tests.projects import digits, textures
from tests.projects.checkout import Images, Project
from tests.projects.nightly import create

pytestmark = pytest.mark.xdist_group("flows")  # `make server` listens at the one address of prefect.toml
ROOT = Path(__file__).resolve().parents[2]
API = "http://127.0.0.1:4200/api"
OWN = ROOT / "docs/how-to/own-images.md"
INIT = "diva init --core ../photos/labelled --pool ../photos/scraped --test ../photos/test"
RUN = {  # by the tests below
    "git clone <this repository> && cd diva",
    INIT,
    "diva plan",
    'git add -A && git commit -m "Our data"',
    "python -m flows.server",  # as `make server`
    "prefect deploy --all",
    "prefect deployment run 'nightly-curation/nightly'",
    "diva review --serve",
    "diva review --finish",
    "make curate",
}
INSTALLED = {  # by tests/installed, from the wheel
    "git clone <this repository> diva && pip install ./diva",
    "diva demo",
    f"mkdir curated && cd curated && {INIT}",
    "diva run",
    "diva night",
    "diva upgrade",
}
LABELS = {  # by tests/pipeline/test_label_next.py, with the file that comes back
    "diva export SUGGESTED --to tasks",
    "diva export SUGGESTED --to tasks --format csv",
    "diva label export.json",
}
# What takes from a quarter of an hour to hours, or the network; that make knows it is looked at here.
LONG = {
    f"make {target}"
    for target in ("install", "test", "check", "test-slow", "kill", "faults", "audit", "soak", "docs", "lock", "sbom")
}
SITE = {  # pages of the site: its Python, and that the command line takes its commands, in test_site.py
    # there on two versions
    *("diva versions", "diva show v0.1.0", "diva diff v0.1.0 v0.2.0", "diva verify --all", "diva rollback v0.1.0"),
    *("diva summary", "diva why SAMPLE", "diva relabel corrections.csv", "diva forget --purge"),
    'diva forget SAMPLE --why "the photographer asked"',
    "diva export v0.1.0 --to out --format imagefolder",
    # as others do in tests/installed
    *("cd diva-demo", "python3 -m venv env && . env/bin/activate", "diva upgrade --diff"),
    *("dvc get <repository> data/release/train.parquet --rev curated@v0.3.0", "dvc artifacts get <repository> curated"),
    "git -C diva pull && pip install --upgrade ./diva",
    'git add -A && git commit -m "Upgrade"',
    *(
        "git remote add upstream <this repository>",
        "diva upgrade --from upstream/main",
    ),  # tests/versions/test_upstream.py
    *("git fetch origin", "git merge --no-commit --no-ff origin/main", 'git commit -m "Upgrade"'),  # as that does
    "git restore --source=HEAD --staged --worktree data dvc.lock params.yaml",
    *("diva review --serve --as Ada", "diva review --apply review.csv --as Bob"),  # tests/review, tests/flows
    *("diva review", "diva review --history"),
    "diva init --core core.npz --pool pool.npz --test test.npz",  # tests/pipeline/test_own_data.py
    "diva init --core ../photos/labelled --pool ../photos/scraped --group-by parent",  # tests/ingest/test_groups.py
    "diva init --core core.parquet --pool pool.parquet --test test.parquet --task regression",  # tests/pipeline
    "diva add --to pool ../photos/more",  # tests/flows/test_additions.py
    "diva night --runner dask --address tcp://scheduler:8786",  # tests/flows/test_cluster.py
    "dvc remote modify local url s3://bucket/path",  # tests/flows by a folder
}
DOCKER = {  # nobody has it here: tests/pipeline/test_container.py runs what it would
    "docker build --build-arg TORCH=cpu --tag diva .",
    "docker build --build-arg TORCH=cuda --tag diva:cuda .",
    "cp compose.env.example .env",
    "docker compose up --detach",
    "docker compose exec worker prefect deployment run 'nightly-curation/nightly'",
    "docker compose exec worker diva versions",
}
HOOK = ".venv/bin/pre-commit install"


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(Path(ROOT, "docs").rglob("*.md"))]


def until(holds, what: str, seconds: float = 300) -> None:
    """Wait for something that takes its time on a busy machine."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.5)


def asked(clone: Path, path: str) -> list[dict]:
    """What the API of ``make server`` answers to whoever gives its token."""
    login = base64.b64encode((clone / ".prefect/token").read_bytes().strip()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {login}"}
    request = urllib.request.Request(f"{API}/{path}", b"{}", headers)  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback
        return json.load(answer)


def photos(folder: Path) -> None:
    """Labelled, scraped and test images, ten a class."""
    for number, name in enumerate(("labelled", "scraped", "test")):
        digits.images(folder / name, range(100 * number, 100 * number + 100))


@pytest.fixture
def newcomer(tmp_path):
    """Somebody with a fresh clone of this checkout, installed."""
    cloned(ROOT, tmp_path / "diva")
    installed(tmp_path / "diva")
    return Newcomer(tmp_path / "home", tmp_path / "diva")


@pytest.fixture
def somebody(tmp_path):
    """Somebody with a fresh clone of a project whose stages with numbers are light."""
    origin = create(tmp_path / "origin")
    for name in ("Makefile", "constraints.txt"):
        shutil.copy(ROOT / name, origin.root / name)
    origin.commit("Add the commands")
    cloned(origin.root, tmp_path / "diva")
    installed(tmp_path / "diva")
    return Newcomer(tmp_path / "home", tmp_path / "diva")


def test_each_printed_command_is_run_here():
    shown = {command for page in pages() for command in printed(page)}
    assert shown == RUN | LONG | LABELS | INSTALLED | SITE | DOCKER | {HOOK}


def test_a_newcomers_own_photos_are_taken_in_and_planned(newcomer):
    photos(newcomer.clone.parent / "photos")
    init, plan = printed(OWN)[:2]
    assert init == INIT
    newcomer.run(init)
    assert "bundled:efficientnet_lite0" in (newcomer.clone / "params.yaml").read_text()
    assert "100" in newcomer.run(plan)


def test_make_and_the_hook_know_what_contributing_prints(newcomer):
    for command in sorted(LONG):
        newcomer.run(command.replace("make ", "make --dry-run "))
    if (newcomer.clone / ".venv/bin/pre-commit").exists():
        newcomer.run(HOOK)
        assert (newcomer.clone / ".git/hooks/pre-commit").is_file()


def nights(person: Newcomer, images: Images = digits.images) -> list[str]:
    """The nights of the site, from the first commit to versions that a deployment published, which it returns."""
    project = Project(person.clone)
    project.deliver("d1", 1600, images=images)
    if project.run("git", "status", "--porcelain").stdout:
        person.run('git add -A && git commit -m "Our data"')
    assert "curated@v0.1.0" in person.run("python -m flows.nightly")
    published, log = project.tags(), person.clone.parent / "server.log"
    project.deliver("d2", 1700, images=images)
    with person.running("make server", log):
        until(lambda: "Worker" in log.read_text() and "started" in log.read_text(), log.read_text())
        person.run("prefect deploy --all")
        said = person.run("prefect deployment run 'nightly-curation/nightly'")
        name = re.search(r"Created flow run '([\w-]+)'", said)[1]

        def state() -> str:
            return next(run["state_type"] for run in asked(person.clone, "flow_runs/filter") if run["name"] == name)

        until(lambda: state() in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"), "the deployment's run goes on", 1800)
        assert state() == "COMPLETED", log.read_text()[-6000:]
        keys = {artifact["key"] for artifact in asked(person.clone, "artifacts/filter")}
        until(lambda: any(run["auto_scheduled"] for run in asked(person.clone, "flow_runs/filter")), "no night at 2")
    new = project.tags()[len(published) :]
    assert new, "the deployment published nothing"
    newest = project.ledger()["latest"]
    assert f"{newest}-summary" in keys
    assert "d2" in (person.clone / "data/ledger.yaml").read_text()
    return new


def review(person: Newcomer) -> None:
    """The review of the site: a decision is saved, published, and obeyed by the next night."""
    log, project = person.clone.parent / "review.log", Project(person.clone)
    address = re.compile(r"(http://127\.0\.0\.1:\d+)/\S*token=([\w-]+)")
    sample = pl.read_parquet(person.clone / "data/release/train.parquet")["sample_id"][0]
    with person.running("diva review --serve", log):
        until(lambda: address.search(log.read_text()), log.read_text())
        url, token = address.search(log.read_text()).groups()
        headers = {
            "Content-Type": "application/json",
            "X-DIVA-Token": token,
            "Origin": url,
            "Sec-Fetch-Site": "same-origin",
        }
        body = json.dumps({"sample_id": sample, "decision": "reject", "label": "", "note": "blurred"}).encode()
        request = urllib.request.Request(f"{url}/decisions", body, headers, method="PUT")  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback
            assert answer.status < 300
    before = project.tags()
    person.run("diva review --finish")
    person.run("python -m flows.nightly")
    assert len(project.tags()) == len(before) + 1
    assert sample not in pl.read_parquet(person.clone / "data/release/train.parquet")["sample_id"]


@Case(
    "an empty environment", "operation", "PATH and HOME alone: README's nights, with server and deployment", UNHARMED
).test
def test_the_printed_nights_publish_from_an_empty_environment(somebody):
    assert nights(somebody)


@pytest.mark.slow  # the real pipeline: minutes a night
def test_the_whole_of_it_on_the_embedded_example(newcomer):
    assert "data/release/train.parquet" in newcomer.run("make curate")
    assert nights(newcomer, textures.images)
    review(newcomer)
