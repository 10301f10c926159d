"""Who may ask, and how: nothing reaches the review server's routes unless it passes here.

    Host            127.0.0.1 or localhost, with the port: a name that a stranger points at this machine is refused
    Origin          absent, or the server's own
    Sec-Fetch-Site  absent, same-origin, or (opening the page) none
    body            at most ``LARGEST`` bytes, JSON

Every answer forbids what the page does not need: other hosts, framing, guessing of types, caching, referrers.
"""

import hmac

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 16 * 1024  # bytes of a body
TOO_LARGE = f"The body must have at most {LARGEST} bytes."
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"  # of all that is no page
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def same(given: str | None, token: str) -> bool:
    """Whether a token is the right one, in a time that does not tell how much of it is."""
    return hmac.compare_digest((given or "").encode(), token.encode())


class Guard:
    """An application that answers only what a page of its own asks.

    Args:
        app: what is guarded.
        port: that the server listens on.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = app
        self.hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say why not."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no page of ours opens a socket
            return
        answer = ServerAnswer(send)
        refusal = self.refusal(scope["method"], Headers(scope=scope))
        if refusal:
            await refusal(scope, receive, answer)
            return
        body = await read(receive)
        if body is None:
            await refused(413, TOO_LARGE)(scope, receive, answer)
        else:
            await self.app(scope, replayed(body, receive), answer)

    def refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        """Why a request is not answered; None where it may pass."""
        hosts, origins, sites = (headers.getlist(name) for name in ("host", "origin", "sec-fetch-site"))
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return refused(421, "The host must be this machine's own name, 127.0.0.1 or localhost, with the port.")
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
            return refused(403, "The origin must be this server's page.")
        own = {"same-origin", "none"} if method in ("GET", "HEAD") else {"same-origin"}
        if not own.issuperset(sites):
            return refused(403, "The request must come from this server's page.")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if method in ("PUT", "POST", "PATCH") and kind != "application/json":
            return refused(415, "The body must be application/json.")
        return refused(413, TOO_LARGE) if _long(headers) else None


def _long(headers: Headers) -> bool:
    length = headers.get("content-length", "0")
    return not (length.isascii() and length.isdigit()) or int(length) > LARGEST


def refused(status: int, reason: str) -> PlainTextResponse:
    """An answer that says why not."""
    return PlainTextResponse(f"{reason}\n", status)


class ServerAnswer:
    """Sends, with the headers that every answer has."""

    def __init__(self, send: Send) -> None:
        self.send = send

    async def __call__(self, message: Message) -> None:
        """Send a message."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            headers.setdefault("Content-Security-Policy", POLICY)
        await self.send(message)


async def read(receive: Receive) -> bytes | None:
    """The whole body; None where it is longer than any decision or never ends."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > LARGEST:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Receives a body that was read already, then what follows."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
