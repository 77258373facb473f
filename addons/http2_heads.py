"""Heads of HTTP/2 messages: pseudo-header fields in their place, each once and known, and what of a response goes on.

What a request's fields and target say is judged elsewhere, as for HTTP/1 (`proxy.core.headers`, `.canonical`).
"""

import re
import time
from collections.abc import Iterable

from mitmproxy import http
from mitmproxy.net.http.validate import validate_headers

from addons.heads import HOP_BY_HOP, HeadFault, not_passed_on

type Fields = Iterable[tuple[bytes, bytes]]

_NOT_IN_TRAILERS = HOP_BY_HOP | {b"content-length", b"host", b"content-type", b"content-encoding", b"set-cookie"}
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_STATUS = re.compile(rb"[1-5][0-9]{2}")
_REQUEST = frozenset((b":method", b":scheme", b":authority", b":path"))


def read_request_head(fields: Fields, *, ends: bool = False) -> http.Request:
    """The request of a HEADERS frame, its authority and path exactly as they came (RFC 9113 §8.3.1).

    `ends`: no body follows.

    Raises:
        HeadFault: pseudo-header fields that are unknown, missing, repeated or late, CONNECT in either form, fields that
            no message may have, or the length of a body that does not follow (RFC 9113 §8.1.1).
    """
    pseudo, rest = _split(fields)
    if b":protocol" in pseudo or pseudo.get(b":method") == b"CONNECT":
        raise HeadFault("CONNECT has no place inside a tunnel")
    if not pseudo.keys() <= _REQUEST:
        raise HeadFault("a pseudo-header field is none of :method, :scheme, :authority and :path")
    for name in (b":method", b":scheme", b":path"):
        if not pseudo.get(name):
            raise HeadFault(f"{name.decode()} is missing")
    if pseudo[b":scheme"] not in (b"http", b"https"):
        raise HeadFault(":scheme must be https")
    request = http.Request(
        host="",
        port=0,
        method=pseudo[b":method"],
        scheme=pseudo[b":scheme"],
        authority=pseudo.get(b":authority", b""),
        path=pseudo[b":path"],
        http_version=b"HTTP/2.0",
        headers=http.Headers(rest),
        content=None,
        trailers=None,
        timestamp_start=time.time(),
        timestamp_end=None,
    )
    _validate(request)
    if ends and request.headers.get("content-length", "0") != "0":
        raise HeadFault("content-length says that a body follows, and the request ends here")
    return request


def read_response_head(fields: Fields) -> http.Response:
    """The final response of a HEADERS frame, without what concerns only the hop to the origin (RFC 9113 §8.3.2).

    Raises:
        HeadFault: no status, other pseudo-header fields, or fields that no message may have.
    """
    pseudo, rest = _split(fields)
    if pseudo.keys() != {b":status"} or not _STATUS.fullmatch(pseudo[b":status"]):
        raise HeadFault("its one pseudo-header field must be :status, of three digits")
    status = int(pseudo[b":status"])
    response = http.Response(
        http_version=b"HTTP/2.0",
        status_code=status,
        reason=b"",
        headers=http.Headers(_plain(rest, not_passed_on(status))),
        content=None,
        trailers=None,
        timestamp_start=time.time(),
        timestamp_end=None,
    )
    _validate(response)
    return response


def read_trailers(fields: Fields) -> http.Headers:
    """What of a response's trailers goes on: nothing that frames, routes or describes the message (RFC 9110 §6.5.1).

    Raises:
        HeadFault: pseudo-header fields, or fields that no message may have.
    """
    pseudo, rest = _split(fields)
    if pseudo:
        raise HeadFault("trailers must not hold pseudo-header fields")
    return http.Headers(_plain(rest, _NOT_IN_TRAILERS))


def _split(fields: Fields) -> tuple[dict[bytes, bytes], list[tuple[bytes, bytes]]]:
    pseudo: dict[bytes, bytes] = {}
    rest: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        if not name.startswith(b":"):
            rest.append((bytes(name), bytes(value)))
        elif rest:
            raise HeadFault("a pseudo-header field stands after another field")
        elif name in pseudo:
            raise HeadFault("a pseudo-header field stands twice")
        else:
            pseudo[bytes(name)] = bytes(value)
    return pseudo, rest


def _plain(fields: Fields, dropped: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """An origin's fields in the bytes that a message may have."""
    for name, value in fields:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise HeadFault("a field holds what no field may hold, or its name is not in lower case")
    return [(name, value.strip(b" \t")) for name, value in fields if name not in dropped]


def _validate(message: http.Request | http.Response) -> None:
    try:
        validate_headers(message)
    except ValueError:
        raise HeadFault("a name is none, or the fields that frame the body are malformed") from None
