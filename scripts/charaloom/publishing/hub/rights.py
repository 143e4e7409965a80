"""May what will be published be published there? Asked before anything trains, since training takes hours.

A refusal that is certain is an error; a hub that does not answer now may do so when the training is done.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from charaloom.config.params import Target
from charaloom.publishing.hub.remote import OF_THE_HUB, OUR_TAG

SECONDS = 2.5  # for an answer, as for other questions before a run; set by hand
MOST_CHARACTERS = 8  # whose repositories are looked at; what holds for all of a namespace shows with the first
KINDS = ("dataset", "model")
MAY_WRITE = frozenset({"admin", "write", "contributor"})  # roles in an organisation
WRITING = frozenset({"repo.write", "repo.content.write"})  # permissions of a fine-grained token
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
UNREACHED = 0  # status where no answer came


@dataclass(frozen=True)
class Finding:
    """Something that is wrong; `certain` where publishing would fail for sure."""

    text: str
    certain: bool = True


@dataclass(frozen=True)
class Reply:
    """The answer of a hub: its status, and what it says."""

    status: int
    value: Any = None


def check_publishing_rights(
    key: str, target: Target, private: bool, characters: Sequence[str], environment: Mapping[str, str]
) -> list[Finding]:
    """All that stands against publishing these characters to a hub.

    `key` names the target in the config, `private` is `published.private`; of `environment` only HF_TOKEN is read.
    """
    token = environment.get("HF_TOKEN", "").strip()
    assert target.endpoint is not None
    if not token:
        return [Finding(f"{key}: HF_TOKEN is not set; set it to a token of {target.endpoint} with the right to write")]
    found = list(of_the_address(key, target.endpoint))
    user = asked(target.endpoint, "/api/whoami-v2", token)
    refusals = list(of_the_token(key, target, user))
    found += refusals
    if not refusals:
        found += of_the_repositories(key, target, private, characters[:MOST_CHARACTERS], token)
    return found


def of_the_address(key: str, endpoint: str) -> Iterator[Finding]:
    address = urlsplit(endpoint)
    if address.scheme == "http" and address.hostname not in LOOPBACK:
        yield Finding(f"{key}: {endpoint} is not encrypted, so others see HF_TOKEN; use https", certain=False)


def of_the_token(key: str, target: Target, user: Reply) -> Iterator[Finding]:
    """Whether the token is one, may write, and is of somebody who may write in the namespace."""
    if user.status in (401, 403):
        yield Finding(f"{key}: {target.endpoint} refuses HF_TOKEN; set it to a valid token of that hub")
        return
    if user.status != 200 or not isinstance(user.value, dict) or not isinstance(user.value.get("name"), str):
        said = "does not answer" if user.status == UNREACHED else f"answers {user.status}"
        yield Finding(
            f"{key}: {target.endpoint} {said} when asked whose HF_TOKEN is; publishing would fail now, check "
            "HF_ENDPOINT and the network",
            certain=user.status in (404, 405),
        )
        return
    known = user.value
    yield from of_the_role(key, target, mapping(mapping(known.get("auth")).get("accessToken")))
    namespace, name = str(target.namespace), known["name"]
    if namespace.lower() == name.lower():
        return
    orgs = [mapping(org) for org in listed(known.get("orgs"))]
    roles = {str(org["name"]).lower(): org.get("roleInOrg") for org in orgs if "name" in org}
    if namespace.lower() not in roles:
        own = ", ".join([name, *sorted(roles)])
        yield Finding(
            f"{key}.namespace: {namespace} is neither the user of HF_TOKEN nor an organisation of theirs; name one of "
            f"{own}, or take a token of {namespace}"
        )
    elif roles[namespace.lower()] not in (None, *MAY_WRITE):
        yield Finding(
            f"{key}.namespace: {name} may only read in the organisation {namespace}; ask there for the role `write`, "
            f"or name {name}"
        )


def of_the_role(key: str, target: Target, token: Mapping[str, Any]) -> Iterator[Finding]:
    """A token of a role that may write; a fine-grained one must have the permission for the namespace."""
    cure = "make one with the right to write on the hub's page of tokens"
    if token.get("role") == "read":
        yield Finding(f"{key}: HF_TOKEN may only read; {cure}")
    scopes = mapping(token.get("fineGrained")).get("scoped")
    if (
        token.get("role") == "fineGrained"
        and isinstance(scopes, list)
        and not any(grants(own, target) for own in scopes)
    ):
        yield Finding(
            f"{key}: HF_TOKEN has no permission to write the repositories of {target.namespace} (`repo.write`); {cure}"
        )


def grants(scope: Any, target: Target) -> bool:
    """Whether a scope of a fine-grained token lets it write repositories of the target."""
    entity, permissions = mapping(mapping(scope).get("entity")), listed(mapping(scope).get("permissions"))
    namespace = str(entity.get("name", "")).partition("/")[0]
    return namespace.lower() == str(target.namespace).lower() and not WRITING.isdisjoint(map(str, permissions))


def of_the_repositories(
    key: str, target: Target, private: bool, characters: Sequence[str], token: str
) -> Iterator[Finding]:
    """Whether repositories that are there already are as this config wants them, and hold what Charaloom put there."""
    pairs = [(kind, target.repository(kind, name)) for name in characters for kind in KINDS]
    with ThreadPoolExecutor(max_workers=2 * MOST_CHARACTERS) as pool:
        replies = list(pool.map(lambda pair: looked_at(str(target.endpoint), pair[0], pair[1], token), pairs))
    for (kind, name), (repository, refs) in zip(pairs, replies, strict=True):
        yield from of_a_repository(f"{key}: {kind} {name}", repository, refs, private)


def looked_at(endpoint: str, kind: str, name: str, token: str) -> tuple[Reply, Reply]:
    """A repository and its tags, as the hub shows them to this token."""
    path = f"/api/{kind}s/{quote(name)}"
    repository = asked(endpoint, path, token)
    return repository, asked(endpoint, f"{path}/refs", token) if repository.status == 200 else Reply(UNREACHED)


def of_a_repository(what: str, repository: Reply, refs: Reply, private: bool) -> Iterator[Finding]:
    if repository.status == 403:
        yield Finding(f"{what} is there, and HF_TOKEN may not see it; name another repository in `published.targets`")
    if repository.status != 200 or not isinstance(repository.value, dict):
        return
    if private and repository.value.get("private") is False:
        yield Finding(
            f"{what} is public, and `published.private` is true; write `private: false`, or make it private on its page"
        )
    files = [str(mapping(file).get("rfilename")) for file in listed(repository.value.get("siblings"))]
    own = [name for name in files if name not in OF_THE_HUB and not name.startswith("README")]
    tags = [str(mapping(tag).get("name")) for tag in listed(mapping(refs.value).get("tags"))]
    if own and refs.status == 200 and not any(map(OUR_TAG.fullmatch, tags)):
        yield Finding(
            f"{what} holds files and no version of Charaloom's ({own[0]}); if they are not an interrupted run's, name "
            "another repository in `published.targets`, for publishing would delete them",
            certain=False,
        )


def mapping(value: Any) -> Mapping[str, Any]:
    """A part of an answer that should be a mapping; an empty one where it is none."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """A part of an answer that should be a list; an empty one where it is none."""
    return value if isinstance(value, list) else []


def asked(endpoint: str, path: str, token: str) -> Reply:
    """What the hub answers; redirects are not followed, since the token is for this address alone."""
    request = urllib.request.Request(endpoint + path, headers={"User-Agent": "charaloom"})
    request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=SECONDS) as answer:
            return Reply(answer.status, json.loads(answer.read()))
    except urllib.error.HTTPError as answer:
        return Reply(answer.code)
    except (OSError, ValueError):
        return Reply(UNREACHED)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None
