"""The review server as a user starts it: who may ask, what is shown, what is kept."""

import csv
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import polars as pl
import psutil
import pytest

from diva.review import guard
from diva.store import ledger, paths
from diva.versions import reviews, takedowns
from tests.review.conftest import FEATURES_ALONE, NAMES, REVIEWER, Decision, Served, arrive, build, start

pytestmark = pytest.mark.xdist_group("review-server")


def page(served: Served) -> str:
    """The address that the printed one leads to."""
    return served.ask("GET", f"/?token={served.token}").headers["location"]


def pending(served: Served) -> list[dict[str, str]]:
    file = served.root / "data/reviews/pending.csv"
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) if file.exists() else []


# what is shown


def test_it_listens_on_loopback_alone(served: Served) -> None:
    found = psutil.Process(served.process.pid).net_connections()
    assert {entry.laddr.ip for entry in found if entry.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_the_page_says_that_decisions_may_be_sent(served: Served) -> None:
    answer = served.ask("GET", page(served), Origin=None, Sec_Fetch_Site="none")
    assert answer.status == 200
    text = answer.body.decode()
    assert '<HEAD lang=\'en\'><meta name="diva-review" content="/decisions"><title>' in text
    assert urlsplit(page(served)).query == f"token={served.token}", "from which the page takes the token"


@pytest.mark.parametrize("name", NAMES)
def test_images_of_samples_are_shown_where_the_page_links_them(served: Served, name: str) -> None:
    link = urljoin(page(served), f"../../../photos/{quote(name)}")
    answer = served.ask("GET", link)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    assert hashlib.sha256(answer.body).hexdigest().startswith(served.ids[NAMES.index(name)])


def test_nothing_but_the_report_and_samples_is_shown(served: Served) -> None:
    """Neither other files of the project nor other images, whatever the address says."""
    (served.root.parent / "photos" / "other.png").write_bytes(
        (served.root.parent / "photos" / "0.png").read_bytes() + b" "
    )
    (served.root / "data/report/link.txt").symlink_to("/etc/passwd")
    (served.root / "data/report/inside.yaml").symlink_to(served.root / "data/ledger.yaml")
    (served.root / "data/report/notes.json").write_text("{}")
    shown = page(served).partition("?")[0]
    assert served.ask("GET", urljoin(shown, "notes.json")).status == 200
    root, key = str(served.root), f"/{served.token}"
    others = (
        "/etc/passwd", f"{root}/data/ledger.yaml", f"{root}/params.yaml", f"{root}/../photos/0.png/../0.png",
        f"{root}/../photos/other.png", f"{root}/data/report/link.txt", f"{root}/data/report/inside.yaml",
        f"{root}/data/report/../ledger.yaml",
        f"{root}/data/report/%2e%2e/ledger.yaml", f"{root}/data/report/..%2fledger.yaml",
        f"{root}/data/report//index.html",
        f"{root}/data/report", f"{root}/data/report/none.js", f"{root}/data/report/%00", "/%00", "/", "",
    )  # fmt: skip
    for place in others:
        assert served.ask("GET", key + place).status == 404, place


def told(html: str, gone: list[str]) -> str:
    """The page, which says what it leaves out."""
    digest = takedowns.digest(pl.Series(gone, dtype=pl.String))
    return html.replace("<title>", f'<meta name="diva-takedowns" content="{digest}"><title>')


def test_what_was_taken_down_is_shown_no_more_by_an_open_server(served: Served) -> None:
    """Nor the page made before, which holds its thumbnail."""
    address = urljoin(page(served), "../../../photos/0.png")
    assert served.ask("GET", address).status == 200
    report = served.root / "data/report/index.html"
    (served.root / "data/takedowns.csv").write_text(f"sample_id,note\n{served.ids[0]},forgotten\n")
    assert served.ask("GET", address).status == 404
    made = report.read_text()
    for shown in ([], [served.ids[1]]):  # also one that a rollback or a clone wrote just now
        report.write_text(told(made, shown))
        os.utime(report, (2**33, 2**33))
        assert served.ask("GET", page(served)).status == 409
    report.write_text(made)
    assert served.ask("GET", page(served)).status == 409, "it does not say what it leaves out"
    report.write_text(told(made, [served.ids[0]]))  # made anew
    os.utime(report, (1, 1))
    assert served.ask("GET", page(served)).status == 200
    report.write_text(made)
    assert served.ask("GET", address).status == 404
    (served.root / "data/takedowns.csv").unlink()


def test_an_image_that_changed_since_is_not_shown(served: Served) -> None:
    file = served.root.parent / "photos" / NAMES[0]
    content, link = file.read_bytes(), urljoin(page(served), f"../../../photos/{NAMES[0]}")
    try:
        file.write_bytes(b"<html><script>alert(1)</script></html>")
        assert served.ask("GET", link).status == 404
    finally:
        file.write_bytes(content)
    assert served.ask("GET", link).status == 200


@pytest.mark.parametrize("target", ["/", "/decisions", "/none", "page"])
def test_every_answer_forbids_what_the_page_does_not_need(served: Served, target: str) -> None:
    headers = served.ask("GET", page(served) if target == "page" else target).headers
    assert guard.HEADERS.items() <= {name.title(): value for name, value in headers.items()}.items() | {
        (name, headers[name.lower()]) for name in guard.HEADERS
    }
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert ("connect-src 'self'" in policy) == (target == "page")
    assert "server" not in headers


# who may ask


@pytest.mark.parametrize("token", [None, "", "x", "token", "тест", "a" * 43])
def test_without_the_token_nothing_is_told_or_kept(served: Served, token: str | None) -> None:
    body = Decision(served.ids[0], "accept")
    sent = None if token is None else token.encode().decode("latin-1")
    assert served.ask("PUT", "/decisions", body, X_DIVA_Token=sent).status == 401
    assert served.ask("GET", "/decisions", X_DIVA_Token=sent).status == 401
    assert served.ask("DELETE", f"/decisions/{served.ids[0]}", X_DIVA_Token=sent).status == 401
    assert served.ask("GET", f"/?token={quote(token or '')}").status == 401
    shown = page(served)
    assert served.ask("GET", shown.replace(served.token, quote(token or "none"))).status == 401
    assert pending(served) == []


STRANGERS = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "https://127.0.0.1:{port}"},
    {"Origin": "http://127.0.0.1:{port}.evil.example"},
    {"Origin": "http://localhost:{port}"},  # another name than the host's
    {"Host": "evil.example"},
    {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},  # a name that was rebound
    {"Host": "127.0.0.1"},
    {"Host": "127.0.0.1:1"},
    {"Host": None},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},  # another port of this machine
    {"Sec_Fetch_Site": "anything"},
]


@pytest.mark.parametrize("headers", STRANGERS, ids=str)
def test_other_origins_are_refused_even_with_the_token(served: Served, headers: dict[str, str | None]) -> None:
    told = {name: value and value.replace("{port}", str(served.port)) for name, value in headers.items()}
    assert 400 <= served.ask("PUT", "/decisions", Decision(served.ids[0], "accept"), **told).status < 500
    assert 400 <= served.ask("DELETE", f"/decisions/{served.ids[0]}", **told).status < 500
    answer = served.ask("GET", page(served), **told)
    assert 400 <= answer.status < 500
    assert b"Report" not in answer.body
    assert "access-control-allow-origin" not in answer.headers
    assert pending(served) == []


def test_a_preflight_of_another_origin_is_refused(served: Served) -> None:
    asked = {"Access_Control_Request_Method": "PUT", "Access_Control_Request_Headers": "x-diva-token,content-type"}
    answer = served.ask("OPTIONS", "/decisions", Origin="http://evil.example", Sec_Fetch_Site="cross-site", **asked)
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_page_opened_from_elsewhere_may_only_look(served: Served) -> None:
    assert served.ask("GET", page(served), Origin=None, Sec_Fetch_Site="none").status == 200
    assert served.ask("PUT", "/decisions", Decision(served.ids[0], "accept"), Sec_Fetch_Site="none").status == 403


# what is kept


NO_DECISION = [
    b"", b"null", b"[]", b"{", b"\xff\xfe", b'"accept"', b"[" * 9000,
    {"sample_id": "{id}"}, {"decision": "accept"},
    {"sample_id": "{id}", "decision": "accept", "more": 1},
    {"sample_id": "{id}", "decision": 1}, {"sample_id": ["{id}"], "decision": "accept"},
    Decision("{id}", "maybe"), Decision("{id}", "relabel"), Decision("{id}", "relabel", "tiger"),
    Decision("{id}", "accept", "😀"), Decision("unknown", "accept"), Decision("../../etc/passwd", "accept"),
    Decision("{id}", "reject", note="x" * 1001), Decision("{id}", "reject", note="\x1b[31m"),
    Decision("{id}", "reject", note="forgotten"), b'{"sample_id": "{id}", "decision": "reject", "note": "\\ud800"}',
]  # fmt: skip


@pytest.mark.parametrize("body", NO_DECISION, ids=lambda body: str(body)[:60])
def test_only_a_decision_on_a_known_sample_is_kept(served: Served, body: object) -> None:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = served.ask("PUT", "/decisions", text.replace(b"{id}", served.ids[0].encode()))
    assert 400 <= answer.status < 500
    assert answer.headers["content-type"].startswith("text/plain")
    assert b"must" in answer.body or answer.status == 400
    assert pending(served) == []


def test_oversized_bodies_are_refused(served: Served) -> None:
    large = b" " * (guard.LARGEST + 1)
    assert served.ask("PUT", "/decisions", large).status == 413
    assert served.ask("PUT", "/decisions", b"", Content_Length=str(10**12)).status == 413
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(large), large)
    assert served.ask("PUT", "/decisions", chunks, Content_Length=None, Transfer_Encoding="chunked").status == 413
    assert served.ask("PUT", "/decisions", b"x=1", Content_Type="text/plain").status == 415
    assert pending(served) == []


def test_a_decision_is_on_disk_when_it_is_answered(served: Served) -> None:
    first, second = served.ids[:2]
    assert served.put(first, "relabel", "<script>alert(1)</script>", 'a "note", with commas') == 204
    assert served.put(second, "reject") == 204
    assert served.put(second, "accept") == 204, "the later one stands"
    kept = [
        Decision(first, "relabel", "<script>alert(1)</script>", 'a "note", with commas'),
        Decision(second, "accept"),
    ]
    told = [{name: value or "" for name, value in row.items()} | {"reviewer": REVIEWER} for row in kept]
    assert json.loads(served.ask("GET", "/decisions").body) == pending(served) == told
    assert served.ask("DELETE", f"/decisions/{first}").status == 204
    assert served.ask("DELETE", f"/decisions/{first}").status == 404
    assert [row["sample_id"] for row in pending(served)] == [second]
    assert served.ask("DELETE", f"/decisions/{second}").status == 204
    assert not (served.root / "data/reviews/pending.csv").exists()


def test_a_decision_on_a_sample_of_any_name_can_be_taken_back(served: Served) -> None:
    assert served.put(FEATURES_ALONE, "reject") == 204
    assert [row["sample_id"] for row in pending(served)] == [FEATURES_ALONE]
    assert served.ask("DELETE", f"/decisions/{quote(FEATURES_ALONE, safe='')}").status == 204
    assert pending(served) == []


def test_a_review_goes_on_where_it_was_left(tmp_path: Path, project: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    ids = build(root)
    first = start(root, ids, project)
    try:
        assert first.put(ids[0], "reject", note="blurred") == 204
        command = [sys.executable, "-m", "diva.commands.cli", "review", "--serve"]
        environment = os.environ | {"PYTHONPATH": str(project)}
        again = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        assert again.returncode == 1
        assert "no other review must go on here" in again.stderr
        said = first.end(signal.SIGINT)
    finally:
        first.process.kill()
    assert first.process.returncode == 0
    assert "1 decision" in said
    assert "Traceback" not in said
    assert first.token not in said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    second = start(root, ids, project, "--port", str(free))
    try:
        assert second.port == free
        assert second.token != first.token
        assert json.loads(second.ask("GET", "/decisions").body) == [
            {**Decision(ids[0], "reject", "", "blurred"), "reviewer": REVIEWER}
        ]
    finally:
        second.process.kill()
        second.process.communicate()


def test_what_is_planned_or_accepted_but_not_made_yet_is_in_nobodys_way(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night that stopped at --max-rounds leaves a planned round; `diva add` leaves a batch without tables."""
    root = tmp_path / "project"
    root.mkdir()
    ids = build(root)
    monkeypatch.chdir(root)
    book = ledger.accept(ledger.read(), None, "more", {}, "none")
    book = ledger.plan_round(book, {"extend": {"per_round": 0.1}, "curate": {"action": "weigh"}})
    ledger.write(paths.LEDGER, book)
    served = start(root, ids, project)
    try:
        assert served.ask("GET", urljoin(page(served), "../../../photos/0.png")).status == 200
        assert served.put(ids[0], "reject") == 204
        new = arrive("b001")
        assert served.put(new, "reject") == 204
    finally:
        served.end()
    assert reviews.reviewed(book, write_review(ids[1])).height == 1
    assert reviews.forget(book, [ids[2]]).height == 1


def write_review(sample_id: str) -> Path:
    Path("review.csv").write_text(f"sample_id,decision,label,note\n{sample_id},accept,,\n")
    return Path("review.csv")


def test_an_open_server_knows_what_came_and_what_was_taken_down(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    ids = build(root)
    served = start(root, ids, project)
    monkeypatch.chdir(root)
    try:
        assert served.put(ids[0], "accept") == 204
        book = ledger.read()
        later, _ = reviews.write(book, reviews.forget(book, [ids[0]]), "forget")
        ledger.write(paths.LEDGER, ledger.accept(later, None, "more", {}, "none"))
        refusal = served.ask("PUT", "/decisions", Decision(ids[0], "accept"))
        assert refusal.status == 422
        assert b"was not taken down" in refusal.body, "although the tables of the batch are not there yet"
        new = arrive("b001")
        assert served.put(new, "reject") == 204
        assert [row["sample_id"] for row in pending(served)] == [ids[0], new]
        assert served.ask("GET", urljoin(page(served), "../../../photos/b001.png")).status == 200
    finally:
        said = served.end()
    assert "2 decisions" in said
    again = start(root, ids, project)
    assert len(json.loads(again.ask("GET", "/decisions").body)) == 2, "what a takedown overtook is in nobody's way"
    again.end()


def test_without_a_report_there_is_nothing_to_serve(tmp_path: Path, project: Path) -> None:
    (tmp_path / "params.yaml").touch()
    with pytest.raises(AssertionError, match=r"data/report/index\.html must exist, got nothing; `diva run`"):
        start(tmp_path, [], project)
