"""Reading a call's body in the way its Content-Type says, each way at most once for one decision."""

from collections.abc import Callable
from functools import cached_property, partial

from proxy.core.bodies.coding import USUAL_CAPS, BodyCaps, decoded, uncoded
from proxy.core.bodies.forms import read_form
from proxy.core.bodies.graphql import GraphqlCall, read_graphql
from proxy.core.bodies.json import read_json
from proxy.core.bodies.llm import LlmRequest, read_llm
from proxy.core.bodies.media import MediaType, check_charset, check_plain, media_type
from proxy.core.bodies.multipart import MULTIPART, FormPart, read_multipart
from proxy.core.bodies.rpc import RpcCall, check_named, read_rpc
from proxy.core.bodies.rules import LlmShape
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.folding import Bases, Spellings
from proxy.core.model import Call, Unread
from proxy.core.shown import shown

JSON = "application/json"
OTHER_JSON = frozenset(
    {"application/json-rpc", "application/x-amz-json-1.0", "application/x-amz-json-1.1", "text/json"}
)
"""Types that are JSON by what their protocols say, though nothing in their names does (RFC 6839 §3.1)."""

FORM = "application/x-www-form-urlencoded"


class Reading:
    """One call's body. Each method reads it in one way, and keeps what it found or why there is nothing to find.

    All of them refuse a Content-Type that says something else: an origin may go by it, or may look for itself.
    """

    def __init__(self, call: Call, caps: BodyCaps = USUAL_CAPS) -> None:
        """Nothing is read before it is asked for."""
        self.call = call
        self.spellings = Spellings()  # of the JSON document
        self.bases = Bases()  # of parameters' and fields' names
        self._caps = caps

    def of(self, call: Call) -> "Reading":
        """Another call's body, under the same caps."""
        return Reading(call, self._caps)

    @property
    def empty(self) -> bool:
        """Whether there is no body at all."""
        return self.call.body == b""

    def json(self) -> Json:
        """The one JSON document.

        Raises:
            Rejected(BODY_MALFORMED, BODY_NOT_INSPECTED): it is not one, or not one that everybody reads alike; or it
                is larger than what is examined.
        """
        return self._json()

    def form(self) -> tuple[tuple[str, str], ...]:
        """The fields of a URL-encoded form, in order. Raises: as `json`."""
        return self._form()

    def multipart(self) -> tuple[FormPart, ...]:
        """The parts of a multipart form, in order. Raises: as `json`."""
        return self._multipart()

    def graphql(self) -> tuple[GraphqlCall, ...]:
        """Every GraphQL operation that would run. Raises: as `json`."""
        return self._graphql()

    def rpc(self) -> tuple[RpcCall, ...]:
        """Every JSON-RPC message. Raises: as `json`."""
        return self._rpc()

    def llm(self, shape: LlmShape) -> LlmRequest:
        """The request to a language model. Raises: as `json`."""
        return self._llm[shape]()

    # Made when they are asked for: most calls have no body, and no body is read in more ways than one or two.

    @cached_property
    def _json(self) -> "_Once[Json]":
        return _Once(self._read_json)

    @cached_property
    def _form(self) -> "_Once[tuple[tuple[str, str], ...]]":
        return _Once(self._read_form)

    @cached_property
    def _multipart(self) -> "_Once[tuple[FormPart, ...]]":
        return _Once(self._read_multipart)

    @cached_property
    def _graphql(self) -> "_Once[tuple[GraphqlCall, ...]]":
        return _Once(lambda: read_graphql(self.json()))

    @cached_property
    def _rpc(self) -> "_Once[tuple[RpcCall, ...]]":
        return _Once(self._read_rpc)

    @cached_property
    def _llm(self) -> "dict[LlmShape, _Once[LlmRequest]]":
        return {shape: _Once(partial(self._read_llm, shape)) for shape in LlmShape}

    def _read_json(self) -> Json:
        media = self._media()
        if media is None or not (media.type.endswith("+json") or media.type in {JSON, *OTHER_JSON}):
            raise _other_media(JSON, media)
        check_plain(media, kind="json")
        data = decoded(self.call.headers, self._body(), self._caps)
        check_charset(media, data)
        return read_json(data, self._caps)

    def _read_rpc(self) -> tuple[RpcCall, ...]:
        calls = read_rpc(self.json())
        check_named(self.call.headers, calls)
        return calls

    def _read_form(self) -> tuple[tuple[str, str], ...]:
        media = self._media()
        if media is None or media.type != FORM:
            raise _other_media(FORM, media)
        check_plain(media, kind="urlencoded")
        data = uncoded(self.call.headers, self._body(), self._caps)
        check_charset(media, data)
        return read_form(data, self._caps)

    def _read_multipart(self) -> tuple[FormPart, ...]:
        media = self._media()
        if media is None or media.type != MULTIPART:
            raise _other_media(MULTIPART, media)
        return read_multipart(uncoded(self.call.headers, self._body(), self._caps), media, self._caps)

    def _read_llm(self, shape: LlmShape) -> LlmRequest:
        return read_llm(self.json(), shape)

    def _media(self) -> MediaType | None:
        return media_type(self.call.headers)

    def _body(self) -> bytes:
        body = self.call.body
        if isinstance(body, Unread):
            size = "one that streams" if body.size is None else f"{body.size} bytes"
            detail = f"the body must be small enough to be examined, got {size}"
            raise Rejected(Code.BODY_NOT_INSPECTED, detail, field="body")
        return body


class _Once[T]:
    """What `read` returns or raises, found out at the first call."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._found: list[T] = []
        self._fault: Rejected | None = None

    def __call__(self) -> T:
        if not self._found and self._fault is None:
            try:
                self._found.append(self._read())
            except Rejected as fault:
                self._fault = Rejected(fault.code, fault.detail, field=_place(fault.field))
        if self._fault is not None:
            raise self._fault.with_traceback(None)
        return self._found[0]


def _other_media(wanted: str, media: MediaType | None) -> Rejected:
    got = "none" if media is None else shown(media.type)
    return Rejected(Code.BODY_MALFORMED, f"Content-Type must be {wanted} here, got {got}", field="content-type")


def _place(field: str) -> str:
    """A field of a call: what readers of JSON call by its pointer lies in the body."""
    return f"body.{field}" if field.startswith("/") else field or "body"
