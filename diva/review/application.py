"""What the review server answers, once ``diva.review.guard`` lets a request pass.

    GET    /?token=T                  to the page
    GET    /T/<place>                 the page, what lies beside it, images of samples: each at its own place on disk
    GET    /decisions                 decisions so far, as JSON         with the header X-DIVA-Token: T
    PUT    /decisions                 {sample_id, decision, label, note}, saved when 204 is answered
    DELETE /decisions/<sample_id>     taken back

The page learns from ``<meta name="diva-review" content="/decisions">`` that it may send decisions, and from the block
``waiting`` which samples to label next.
"""

import json
import mimetypes
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from diva.review.guard import PAGE_POLICY, refused, same
from diva.review.images import Gallery
from diva.review.pending import Pending
from diva.store import paths
from diva.store.decisions import Decision
from diva.versions import cache

META = b'<meta name="diva-review" content="/decisions">'
HEAD = re.compile(rb"<head(\s[^>]*)?>", re.IGNORECASE)


class Sent(BaseModel):
    """The body of a decision."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    sample_id: str
    decision: str
    label: str | None = None
    note: str | None = None


class ReviewRoutes:
    """The routes.

    Args:
        pending: where decisions go.
        gallery: images of samples, as they are now.
        token: whoever has it may look and decide.
        root: the project's folder, absolute.
        is_overtaken: whether the page shows samples that were taken down since it was made.
        suggestions: samples to label next, the first first.
    """

    def __init__(
        self,
        pending: Pending,
        gallery: Callable[[], Gallery],
        token: str,
        root: Path,
        is_overtaken: Callable[[], bool],
        suggestions: Callable[[], list[dict[str, Any]]] = list,
    ) -> None:
        self.suggestions = suggestions
        self.pending, self.gallery, self.token, self.is_overtaken = pending, gallery, token, is_overtaken
        self.page = root / paths.REPORT
        self.places = [folder.resolve() for folder in (self.page.parent, root / cache.cached("").parent.parent)]

    def asgi(self) -> Starlette:
        """As an ASGI application."""
        app = Starlette(
            routes=[
                Route("/", self.enter),
                Route("/decisions", self.listed, methods=["GET"]),
                Route("/decisions", self.decide, methods=["PUT"]),
                Route("/decisions/{sample_id:path}", self.take_back, methods=["DELETE"]),
                Route("/{token}/{place:path}", self.look),
            ]
        )
        app.router.redirect_slashes = False
        return app

    def enter(self, request: Request) -> Response:
        """To the page, at an address that its relative links work from."""
        if not same(request.query_params.get("token"), self.token):
            return refused(401, "The token must be that of the address that `diva review --serve` printed.")
        return RedirectResponse(f"/{self.token}{quote(str(self.page))}?{urlencode({'token': self.token})}", 303)

    def look(self, request: Request) -> Response:
        """The page, a file beside it, or an image of a sample."""
        if not same(request.path_params["token"], self.token):
            return refused(401, "The token must be that of the address that `diva review --serve` printed.")
        path = f"/{request.path_params['place']}"
        if path.startswith(f"{self.page.parent}/"):
            if self.is_overtaken():
                return refused(409, "Samples were taken down since this report was made; the next night makes another.")
            return self._page() if path == str(self.page) else self._beside(path)
        picture = self.gallery().picture(path)
        return Response(picture.content, media_type=picture.kind) if picture else _absent()

    def _page(self) -> Response:
        try:
            content = self.page.read_bytes()
        except OSError:
            return _absent()
        head = HEAD.search(content)
        end = head.end() if head else 0
        policy = {"Content-Security-Policy": PAGE_POLICY}
        rows = json.dumps(self.suggestions(), allow_nan=False).replace("<", "\\u003c")  # no name ends the block
        block = f'<script type="application/json" id="waiting">{rows}</script>'.encode() if rows != "[]" else b""
        return Response(content[:end] + META + block + content[end:], media_type="text/html", headers=policy)

    def _beside(self, path: str) -> Response:
        """A file of the report; what a link leads to elsewhere than DVC's cache is none of it."""
        file = Path(path)
        if os.path.normpath(path) != path or not file.is_file():
            return _absent()
        if not any(file.resolve().is_relative_to(folder) for folder in self.places):
            return _absent()
        return Response(file.read_bytes(), media_type=mimetypes.guess_type(file.name)[0] or "application/octet-stream")

    def listed(self, request: Request) -> Response:
        """Decisions so far."""
        rows = ({name: text or "" for name, text in decision._asdict().items()} for decision in self.pending)
        return self._unknown(request) or JSONResponse(list(rows))

    async def decide(self, request: Request) -> Response:
        """Save a decision."""
        if unknown := self._unknown(request):
            return unknown
        try:
            sent = Sent.model_validate_json(await request.body())
            self.pending.put(Decision(**sent.model_dump()))
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            return refused(400, f"{'.'.join(map(str, fault['loc'])) or 'The body'}: {fault['msg']}.")
        except ValueError as error:
            return refused(422, str(error))
        except OSError as error:
            return refused(507, f"The decision must be saved on disk, got {error.strerror}; free some space.")
        return Response(status_code=204)

    def take_back(self, request: Request) -> Response:
        """Forget a decision that was not published."""
        if unknown := self._unknown(request):
            return unknown
        return Response(status_code=204) if self.pending.drop(request.path_params["sample_id"]) else _absent()

    def _unknown(self, request: Request) -> Response | None:
        if same(request.headers.get("X-DIVA-Token"), self.token):
            return None
        return refused(401, "The header X-DIVA-Token must be the token of the page's address.")


def _absent() -> Response:
    return refused(404, "There is nothing of that name here.")
