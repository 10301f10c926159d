"""Prefect's server on this machine: loopback, and a token of its own."""

import os
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

import psutil
import pytest

from flows import server

pytestmark = pytest.mark.xdist_group("flows")


def status(url: str, login: str = "") -> int:
    """What the server answers to a question about its flows."""
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
    request = urllib.request.Request(f"{url}/flows/filter", b"{}", headers)  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow  # a server's first start
def test_who_lacks_the_token_learns_nothing_and_nobody_outside_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / ".prefect"))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    for name in ("PREFECT_API_URL", server.SERVED, server.ASKED):
        monkeypatch.delenv(name, raising=False)
    with server.temporary() as url:
        token, port = os.environ[server.ASKED], int(url.split(":")[2].partition("/")[0])
        assert server.answers(port)
        assert status(url) == 401
        assert status(url, "diva:guess") == 401
        assert status(url, token) == 200
        children = psutil.Process().children(recursive=True)
        heard = [link for child in children for link in child.net_connections("inet") if link.status == "LISTEN"]
        assert {link.laddr.ip for link in heard} == {"127.0.0.1"}
        assert not [child for child in children if token in " ".join(child.cmdline())]
    assert server.ASKED not in os.environ
