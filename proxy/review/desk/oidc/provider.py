"""The OpenID Connect provider that signs people in: what it says of itself, its keys, and a code made into a name.

Nothing of it is needed for the desk to start. While it cannot be read the desk says so at its door and in the log, and
tries again.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit

from authlib.oauth2.client import OAuth2Client
from authlib.oauth2.rfc6749.parameters import prepare_token_request
from authlib.oidc.discovery import get_well_known_url

from proxy.core.encoding import Json, parse_json
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.policy.oidc import LOOPBACK, OidcProvider
from proxy.review.desk.oidc.asking import Asks
from proxy.review.desk.oidc.tokens import ALGORITHMS, Expected, KeyUnknown, PublicJwk, Told, read_id_token, read_keys

logger = logging.getLogger(__name__)

FRESH_S = 3_600.0
"""What the provider says of itself is read again after this time: a key that it took back counts no longer."""

KEYS_EVERY_S = 30.0
"""Its keys are read again for a token that none of them verifies, but not more often than this."""

RETRY_S = (5.0, 15.0, 60.0)
"""How long after a failure it is asked again: after the first, after the second, and from then on."""

MOST_AT_ONCE = 8
"""So many codes are made into names at once; whoever comes beyond that waits for nothing and is told to try again."""

_URL = re.compile(r"https?://[!-~]{1,2000}")
_ERROR = re.compile(r"[a-z_]{1,40}")
_PLAIN = re.compile(r"[A-Za-z0-9._~-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What of the provider's description of itself is used (OpenID Connect Discovery §3)."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    names_itself: bool  # whether it bears its name in every answer (RFC 9207)
    auth_method: str


class NotRedeemed(Exception):
    """The provider did not take the code. The text is for the log."""


class Provider:
    """One provider, asked when it is needed."""

    def __init__(
        self,
        told: OidcProvider,
        *,
        ask: Asks,
        secret: Callable[[], str] | None,
        clock: Callable[[], datetime],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """`secret` reads the desk's secret there, and raises `Rejected` where it cannot; None: there is none."""
        self._told = told
        self._ask = ask
        self._secret = secret
        self._clock = clock
        self._timer = timer
        self._metadata: Metadata | None = None
        self._keys: tuple[PublicJwk, ...] = ()
        self._read_at_s = self._keys_at_s = float("-inf")
        self._failed_at_s = float("-inf")
        self._reading = asyncio.Lock()
        self._redeeming = 0
        self.fault = ""  # why nobody can be signed in by it now, for the log

    @property
    def name(self) -> str:
        return self._told.name

    @property
    def issuer(self) -> str:
        return self._told.issuer

    async def follow(self) -> None:
        """Keep what it says of itself fresh, for the life of the desk."""
        failures = 0
        while True:
            try:
                await self.read()
            except (Rejected, Unavailable):
                wait_s = RETRY_S[min(failures, len(RETRY_S) - 1)]
                failures += 1
            else:
                wait_s, failures = FRESH_S / 2, 0
            await asyncio.sleep(wait_s)

    async def read(self) -> Metadata:
        """Ask it what it is, and for its keys. A failure is logged when it is another one than before.

        Raises:
            Rejected(UPSTREAM_BROKEN, CONFIG_INVALID): it cannot be used as it is; with the mend.
            Unavailable(UPSTREAM_CONNECT): it cannot be asked.
        """
        try:
            if self._secret is not None:
                self._secret()  # so that a missing one is told before somebody stands at the door
            where = get_well_known_url(self.issuer, external=True)
            metadata = read_metadata(await self._get(where), self._told)
            keys = read_keys(await self._get(metadata.jwks_uri))
        except (Rejected, Unavailable) as fault:
            if self.fault != fault.detail:
                logger.warning("nobody signs in with %s: %s; it is asked again", self.name, fault.detail)
            self.fault, self._failed_at_s = fault.detail, self._timer()
            raise
        self._metadata, self._keys = metadata, keys
        self._read_at_s = self._keys_at_s = self._timer()
        if self.fault:
            logger.warning("people sign in with %s again", self.name)
        self.fault = ""
        return metadata

    async def metadata(self) -> Metadata:
        """What it is, from the last reading that is still fresh. Raises as `read`."""
        async with self._reading:
            now_s = self._timer()
            if self._metadata is not None and now_s - self._read_at_s <= FRESH_S:
                return self._metadata
            if self.fault and now_s - self._failed_at_s < RETRY_S[0]:  # whoever is at the door does not hurry us
                raise Unavailable(Code.UPSTREAM_CONNECT, self.fault)
            return await self.read()

    async def authorization_url(self, *, back: str, state: str, nonce: str, verifier: str) -> str:
        """Where a browser goes to be told who somebody is: a code, with PKCE (RFC 7636). Raises as `read`."""
        metadata = await self.metadata()
        more = {} if self._told.max_age is None else {"max_age": str(int(self._told.max_age.total_seconds()))}
        url, _ = self._client(metadata, back).create_authorization_url(
            metadata.authorization_endpoint, state=state, code_verifier=verifier, nonce=nonce, **more
        )
        return str(url)

    async def redeem(self, code: str, *, back: str, nonce: str, verifier: str) -> Told:
        """Whom a code names.

        Raises:
            NotRedeemed: the provider does not take it.
            Untrue: what it gave for it does not count.
            Rejected, Unavailable: as `read`; Unavailable, too, when too many sign in at once.
        """
        if self._redeeming >= MOST_AT_ONCE:
            raise Unavailable(Code.UPSTREAM_CONNECT, "too many people sign in at once; try again in a moment")
        self._redeeming += 1
        try:
            metadata = await self.metadata()
            given = await self._exchange(metadata, code, back, verifier)
        finally:
            self._redeeming -= 1
        token, access = given.get("id_token"), given.get("access_token", "")
        if not isinstance(token, str) or not isinstance(access, str):
            raise NotRedeemed("it gave no ID token; is openid among desk.oidc.scopes, and known there?")
        expected = Expected(
            issuer=self.issuer,
            client_id=self._told.client_id,
            nonce=nonce,
            now=self._clock(),
            access_token=access,
            max_age=self._told.max_age,
        )
        try:
            return read_id_token(token, self._keys, expected)
        except KeyUnknown:
            if not await self._have_newer_keys(metadata):
                raise
        return read_id_token(token, self._keys, expected)

    async def _exchange(self, metadata: Metadata, code: str, back: str, verifier: str) -> Mapping[str, Json]:
        client = self._client(metadata, back, secret="" if self._secret is None else self._secret())
        body = prepare_token_request("authorization_code", redirect_uri=back, code=code, code_verifier=verifier)
        auth = client.client_auth(metadata.auth_method)
        url, headers, body = auth.prepare("POST", metadata.token_endpoint, {}, body)  # type: ignore[no-untyped-call]  # of its stubs
        answer = await self._ask(str(url), body=str(body), headers={str(name): str(headers[name]) for name in headers})
        given = parse_json(
            answer.body, code=Code.UPSTREAM_BROKEN, what="the answer of its token endpoint", depth=8, members=1_000
        )
        if not isinstance(given, Mapping):
            raise Rejected(Code.UPSTREAM_BROKEN, "the answer of its token endpoint must be a JSON object")
        if answer.status != 200:
            error = given.get("error")
            told = error if isinstance(error, str) and _ERROR.fullmatch(error) else "an error of no known kind"
            mend = "; look at desk.oidc.client_id and client_secret" if told == "invalid_client" else ""
            raise NotRedeemed(f"its token endpoint answered {answer.status}, {told}{mend}")
        return given

    async def _have_newer_keys(self, metadata: Metadata) -> bool:
        async with self._reading:
            if self._timer() - self._keys_at_s < KEYS_EVERY_S:
                return False
            self._keys_at_s = self._timer()
            self._keys = read_keys(await self._get(metadata.jwks_uri))
            return True

    async def _get(self, url: str) -> bytes:
        answer = await self._ask(url)
        if answer.status != 200:
            mend = "; redirects are not followed" if 300 <= answer.status < 400 else ""
            detail = f"{_shown(url)} answered {answer.status}, not 200{mend}; look at desk.oidc.issuer"
            raise Rejected(Code.UPSTREAM_BROKEN, detail)
        return answer.body

    def _client(self, metadata: Metadata, back: str, *, secret: str = "") -> OAuth2Client:
        name = self._told.client_id
        if metadata.auth_method == "client_secret_basic" and secret:  # RFC 6749 §2.3.1; Authlib leaves it to its caller
            name, secret = (each if _PLAIN.fullmatch(each) else quote(each, safe="") for each in (name, secret))
        return OAuth2Client(
            None,
            client_id=name,
            client_secret=secret or None,
            token_endpoint_auth_method=metadata.auth_method,
            scope=" ".join(self._told.scopes),
            redirect_uri=back,
            code_challenge_method="S256",
        )


def read_metadata(data: bytes, provider: OidcProvider) -> Metadata:
    """What a provider says of itself, if it can be used.

    Raises:
        Rejected(UPSTREAM_BROKEN): it is another one, asks for plain HTTP, or cannot do what the desk needs.
    """
    told = parse_json(data, code=Code.UPSTREAM_BROKEN, what="its discovery document", depth=8, members=10_000)
    if not isinstance(told, Mapping):
        raise _unfit("its discovery document must be a JSON object")
    issuer = told.get("issuer")
    if issuer != provider.issuer:
        said = _shown(issuer) if isinstance(issuer, str) else "nothing"
        raise _unfit(f"it calls itself {said}, and desk.oidc.issuer says {provider.issuer}; they must be the same text")
    if "code" not in _words(told, "response_types_supported", ("code",)):
        raise _unfit("it gives no codes (response_types_supported); the desk takes nothing else")
    if "S256" not in _words(told, "code_challenge_methods_supported", ("S256",)):
        raise _unfit("it does not know PKCE with S256 (code_challenge_methods_supported)")
    if not set(_words(told, "id_token_signing_alg_values_supported", ALGORITHMS)) & set(ALGORITHMS):
        raise _unfit(f"it signs ID tokens in none of these ways: {', '.join(ALGORITHMS)}")
    methods = _words(told, "token_endpoint_auth_methods_supported", ("client_secret_basic",))
    method = "none"
    if provider.client_secret is not None:
        known = [each for each in ("client_secret_basic", "client_secret_post") if each in methods]
        if not known:
            raise _unfit("it takes no client secret as such; expected client_secret_basic or client_secret_post")
        method = known[0]
    return Metadata(
        authorization_endpoint=_endpoint(told, "authorization_endpoint", provider),
        token_endpoint=_endpoint(told, "token_endpoint", provider),
        jwks_uri=_endpoint(told, "jwks_uri", provider),
        names_itself=told.get("authorization_response_iss_parameter_supported") is True,
        auth_method=method,
    )


def _words(told: Mapping[str, Json], key: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    value = told.get(key)
    if value is None:
        return otherwise
    if not isinstance(value, list):
        raise _unfit(f"{key} must be a list")
    return tuple(each for each in value if isinstance(each, str))


def _endpoint(told: Mapping[str, Json], key: str, provider: OidcProvider) -> str:
    url = told.get(key)
    if not isinstance(url, str) or not _URL.fullmatch(url):
        raise _unfit(f"{key} must be a URL")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _unfit(f"{key} must be a URL") from None
    if not host or "@" in parts.netloc or "#" in url or "\\" in url:
        raise _unfit(f"{key} must be a URL without a user or a fragment")
    at_home = f"[{host}]" if ":" in host else host
    if parts.scheme == "http" and not (provider.is_loopback and at_home in LOOPBACK):
        raise _unfit(f"{key} must be https (http only on this machine's loopback, for an issuer there)")
    return url


def _shown(text: str) -> str:
    return ascii(text.partition("?")[0][:200])


def _unfit(detail: str) -> Rejected:
    return Rejected(Code.UPSTREAM_BROKEN, detail)
