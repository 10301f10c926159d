"""Secrets in text: in the places where they are known to hide, before anybody logs, stores or shows it.

https://user:token@host/…    ?X-Amz-Signature=…    password = …    the values of variables such as AWS_SECRET_ACCESS_KEY
"""

import os
import re

HIDDEN = "***"
WORDS = ("token", "secret", "signature", "sig", "password", "passwd", "passphrase", "api[_-]?key", "access[_-]?key",
         "account[_-]?key", "credentials?", "authorization", "auth[_-]?string")  # fmt: skip
WORD = f"(?:{'|'.join(WORDS)})"
USER = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]*)://(?P<user>[^/\s:@'\"]+)(?P<password>:[^/\s@'\"]*)?@")
QUERY = re.compile(rf"([?&;][\w.-]*{WORD}[\w.-]*=)[^&;#\s'\"]+", re.IGNORECASE)
SETTING = re.compile(
    rf"(\b[\w.-]*{WORD}[\w.-]*['\"]?\s*[=:]\s*['\"]?)(?:(?:basic|bearer)\s+)?[^\s'\",;&]+", re.IGNORECASE
)
VARIABLE = re.compile(WORD, re.IGNORECASE)
NAMED = ("ssh", "sftp", "git+ssh")  # schemes whose user is a name, not a token
SHORTEST = 8  # characters of a variable's value that is looked for: shorter ones are ordinary words


def redacted(text: str) -> str:
    """``text`` without its secrets."""
    text = USER.sub(_user, text)
    text = SETTING.sub(rf"\1{HIDDEN}", QUERY.sub(rf"\1{HIDDEN}", text))
    for value in sorted(_variables(), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text


def holds_secret(url: str) -> bool:
    """Whether a URL carries a password, a token or a signature."""
    return USER.sub(_user, url) != url or bool(QUERY.search(url))


def _user(match: re.Match[str]) -> str:
    is_name = match["scheme"].lower() in NAMED
    if is_name and not match["password"]:
        return match[0]
    return f"{match['scheme']}://{match['user'] + ':' if is_name else ''}{HIDDEN}@"


def _variables() -> set[str]:
    return {value for name, value in os.environ.items() if len(value) >= SHORTEST and VARIABLE.search(name)}
