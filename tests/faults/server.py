"""A web server on loopback that can break off, lie, and lead elsewhere."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Server(http.server.ThreadingHTTPServer):
    """Serves one content under any path.

    Attributes:
        content: of the file.
        breaks: connections that end after a third of what they owe.
        ranges: whether it can go on in the middle.
        leads: where it redirects to; "" for nowhere.
        endless: whether it says nothing of a length, and sends the content again and again.
        asked: what the requests asked for: their Range, and their Authorization.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.breaks, self.ranges, self.leads = content, 0, True, ""
        self.endless = False
        self.asked: list[tuple[str | None, str | None]] = []

    @property
    def url(self) -> str:
        """Of the file."""
        return f"http://127.0.0.1:{self.server_port}/photos.tar.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        server.asked.append((asked, self.headers["Authorization"]))
        if server.leads:
            self.send_response(302)
            self.send_header("Location", server.leads)
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        if start >= len(server.content):
            self.send_error(416)
            return
        rest = server.content[start:]
        self.send_response(206 if start else 200)
        if not server.endless:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        with contextlib.suppress(OSError):  # until the other side has enough
            while server.endless:
                self.wfile.write(rest)
        if server.breaks:
            server.breaks -= 1
            rest = rest[: len(rest) // 3]
        self.wfile.write(rest)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    """A server for the time of the block."""
    with Server(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
