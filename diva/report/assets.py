"""What the page is built from besides data: its script, its style, the chart library, and the policy that binds them.

The script lies in ES modules beside this file, which the page cannot import from disk: they are joined, in the order in
which they need each other, into one. The policy names that one script and the chart library by their hashes: nothing
else ever runs, whatever a label or a path contains.
"""

import base64
import functools
import gzip
import hashlib
import re
from importlib import resources

import jinja2
import numpy as np

from diva.store import paths
from diva.store.results import Results

MODULES = ("data", "decisions", "gallery", "map", "panel", "tens", "strips", "charts", "main")
PACKAGE = "diva.report"


def read(name: str) -> str:
    """A file of the page."""
    return resources.files(PACKAGE).joinpath("web", name).read_text(encoding="utf-8")


def script() -> str:
    """The modules as one, without their imports and exports."""
    text = "\n".join(read(f"{name}.js") for name in MODULES)
    return re.sub(r"^export ", "", re.sub(r"^import .*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)


@functools.cache
def library() -> str:
    """The chart library, compressed, in base64; this machine does it once."""
    raw, page = plotly().encode(), Results(paths.PAGE / "library")
    made = page.get(lambda: {"text": np.frombuffer(squeezed(raw).encode(), "u1")}, hashlib.sha256(raw).hexdigest())
    page.prune()
    return made["text"].tobytes().decode()


@functools.cache
def plotly() -> str:
    """The chart library, as the package plotly ships it."""
    return resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")


def squeezed(raw: bytes) -> str:
    """gzip without a time, in base64: safe wherever it stands in a page, the same text for the same bytes."""
    return base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode("ascii")


def policy(*scripts: str) -> str:
    """Content-Security-Policy: these scripts, images and sounds of the page or from disk, and no other origin."""
    allowed = " ".join(f"'sha256-{_hash(text)}'" for text in scripts)
    rules = {
        "default-src": "'none'",
        "script-src": allowed,
        "style-src": "'unsafe-inline'",
        "img-src": "'self' data: file:",
        "media-src": "'self' file:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def template() -> jinja2.Template:
    """The page's template; all that is put into it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(PACKAGE, "web"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html.j2")
