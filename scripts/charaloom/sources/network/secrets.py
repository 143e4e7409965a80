"""Taking secrets out of URLs, and out of text with URLs in it, before anything is stored, logged or shown."""

import json
import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

# Whole names of parameters, with `-` and `_` left out; and what no harmless name contains.
NAMES = frozenset(
    ["accesskey", "accesskeyid", "apikey", "auth", "authkey", "authorization", "authuser", "awsaccesskeyid", "bearer",
     "code", "cookie", "googleaccessid", "hmac", "key", "keypairid", "login", "oauth", "pass", "passhash", "privatekey",
     "pwd", "sessid", "sid", "sig", "sign", "userid"]
)  # fmt: skip
PARTS = re.compile(r"token|secret|passw|signature|apikey|credential|jwt|session", re.IGNORECASE)
PREFIXES = ("x-amz-", "x-goog-", "x-oss-", "x-cos-")
# Names begin where no letter of theirs stands before, else a long word would be looked at from each of its letters.
URL = re.compile(r"(?:(?<![a-zA-Z0-9+.-])[a-zA-Z][a-zA-Z0-9+.-]*:)?//[^\s\"'<>]+")
PAIR = re.compile(r"""(?<![\w.-])(?P<name>[\w.-]+)(?P<is>["']?\s*[=:]\s*["']?)(?P<value>[^\s&;,"'<>]+)""")
SCHEME = re.compile(r"\b(Basic|Bearer|Token|Digest)\s+[A-Za-z0-9+/=._~-]{6,}", re.IGNORECASE)
SURE = re.compile(
    r"(api|access|secret|private|auth)[-_]?key|token|secret|passw|signature|^sig$|jwt|session|^login$|authorization|cookie"
    r"|^auth$|^x-(amz|goog)-",
    re.IGNORECASE,
)
STARS = "***"


def is_secret(name: str) -> bool:
    """Whether a parameter of this name names an account or opens one."""
    plain = re.sub(r"[-_.]", "", name).lower()
    return plain in NAMES or name.lower().startswith(PREFIXES) or PARTS.search(plain) is not None


def scrubbed_url(url: str) -> str | None:
    """A URL without user, password and secret parameters in query, path (`;name=`) and fragment; None if it is none."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return None
    path = re.sub(r";([^/;=]+)=[^/;]*", lambda pair: "" if is_secret(unquote(pair[1])) else pair[0], parts.path)
    query, fragment = scrubbed_query(parts.query), scrubbed_query(parts.fragment)
    return parts._replace(netloc=host, path=path, query=query, fragment=fragment).geturl()


def scrubbed_query(query: str) -> str:
    """As it was where nothing in it is secret."""
    if "=" not in query:
        return query
    front, mark, query = query.rpartition("?")  # a fragment may have a path and a query of its own
    pairs = parse_qsl(query.replace(";", "&"), keep_blank_values=True)
    clean = [(name, scrubbed_text(value)) for name, value in pairs if not is_secret(name)]
    return front + mark + (query if clean == pairs else urlencode(clean))


def scrubbed_text(text: str) -> str:
    """Text whose URLs have no secrets; `name=value` outside of them loses the value where the name is surely secret."""
    if "=" not in text and ":" not in text and "//" not in text and " " not in text:
        return text
    text = URL.sub(lambda url: scrubbed_url(url[0]) or "", text)
    text = SCHEME.sub(lambda found: f"{found[1]} {STARS}", text)
    return PAIR.sub(lambda pair: f"{pair['name']}{pair['is']}{STARS}" if hides(pair["name"]) else pair[0], text)


def hidden(text: str, secrets: Iterable[str]) -> str:
    """Text without some very words, as they are or as a URL or JSON writes them."""
    for secret in secrets:
        for form in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}:
            text = text.replace(form, STARS)
    return text


def hides(name: str) -> bool:
    return SURE.search(name) is not None
