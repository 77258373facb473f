"""The signed bundle: people, agents and clusters as one operator signed them, in a version that may not go down."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from proxy.core.clusters import compile_policy
from proxy.core.encoding import MAX_EXACT_INT, Json, canonical_json, from_epoch, to_epoch, unb64u
from proxy.core.errors import Code, Rejected
from proxy.core.jws import MAX_TOKEN_BYTES, Envelope, check_signature, open_envelope, seal
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle
from proxy.policy.faults import shown
from proxy.policy.files import read_guarded, read_if_there, write_whole
from proxy.policy.pins import read_pins, write_pins
from proxy.policy.settings import Settings, load_settings
from proxy.policy.sources import Policy, Sources, parse, read_sources

BUNDLE_TYP = "intent-bundle+jwt"
ISSUER = "operator"
FLOOR_FILE = "bundle.floor"
SIGN = "run: intent-proxy bundle sign"

_CLAIMS = frozenset({"iss", "aud", "iat", "version", "files"})
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What an operator signed. `files` maps each name to the hex SHA-256 of its bytes."""

    version: int
    files: Mapping[str, str]
    kid: str
    at: datetime
    sha256: str  # hex, over the signed payload


def load_bundle(settings: Settings, *, dev: bool, floor: int) -> Bundle:
    """Everything people wrote, from one reading of each file, if an operator signed these very bytes.

    With `dev` no signature is looked for: the bundle is version 0 and says that it is unsigned. `floor` is the highest
    version this node has run (`read_floor`). Pins are those on disk and the present clusters themselves.
    Not checked here: overlapping templates, which `compile_policy` refuses.

    Raises:
        Rejected(CONFIG_INVALID): a file is absent, unsafe or wrong; one line for each fault.
        Rejected(BUNDLE_INVALID): not signed by a pinned operator, not these bytes, an older version, a changed pin.
    """
    return _load(settings, dev=dev, floor=floor)[1]


def people_at_hand(settings: Settings) -> Bundle:
    """Whom a stop may be signed by as far as can be read here, whatever is wrong with the rest: nodes verify it anyway.

    The files as they stand, signed or not; where they cannot be read, the pinned operators alone.
    """
    try:
        return load_bundle(settings, dev=True, floor=0)
    except Rejected:
        return Bundle(
            deployment=settings.deployment,
            version=0,
            sha256="",
            signed=False,
            people={},
            agents={},
            clusters={},
            deny=(),
            pins={},
            operators=settings.operators,
        )


def verify_bundle(settings: Settings, *, floor: int = 0) -> Signed:
    """Check the whole signed bundle as `run` would, overlapping templates included, and say what was signed.

    Raises:
        Rejected: as `load_bundle` and `compile_policy`.
    """
    signed, bundle = _load(settings, dev=False, floor=floor)
    compile_policy(bundle)
    return signed


def _load(settings: Settings, *, dev: bool, floor: int) -> tuple[Signed, Bundle]:
    sources = read_sources(settings)
    if dev:
        signed = _unsigned(settings, sources)
    else:
        signed = _read_signed(settings)
        _check_files(signed, sources)
        _check_floor(signed, floor)
    return signed, _bundle(settings, signed, parse(sources, operators=settings.operators), is_signed=not dev)


def sign_bundle(settings: Settings, key: PrivateKey, *, now: datetime) -> Signed:
    """Sign the files as they are now, one version up, and pin every present cluster.

    Only what would also load is signed. The version follows the highest one known here: that of the present bundle
    (trusted for this number only) or of this node's floor.

    Raises:
        Rejected(CONFIG_INVALID): a file is wrong, the key is no operator's, or nothing could be written.
    """
    if key.public.kid not in {operator.kid for operator in settings.operators}:
        detail = (
            f"{settings.file.name}: the key {key.public.kid} is not listed under operators; add its public half there"
        )
        raise Rejected(Code.CONFIG_INVALID, detail)
    sources = read_sources(settings)
    policy = parse(sources, operators=settings.operators)
    compile_policy(_bundle(settings, _unsigned(settings, sources), policy, is_signed=False))
    claims: dict[str, Json] = {
        "iss": ISSUER,
        "aud": settings.deployment,
        "iat": to_epoch(now),
        "version": max(_version_on_disk(settings), read_floor(settings.state)) + 1,
        "files": sources.hashes,
    }
    token = seal(claims, typ=BUNDLE_TYP, key=key)
    if len(token) > MAX_TOKEN_BYTES:
        detail = f"{len(sources.hashes)} files are too many for one bundle; put the clusters into fewer files"
        raise Rejected(Code.CONFIG_INVALID, detail)
    write_pins(settings.pinned, policy.clusters)
    write_whole(settings.bundle, f"{token}\n".encode("ascii"))
    return _signed(open_envelope(token, typ=BUNDLE_TYP, code=Code.BUNDLE_INVALID), settings)


def faults_of(path: Path) -> tuple[str, ...]:
    """Everything wrong with a deployment's files, signature aside: `file:line: fault`. Empty: nothing is."""
    try:
        settings = load_settings(path)
        sources = read_sources(settings)
        policy = parse(sources, operators=settings.operators)
        compile_policy(_bundle(settings, _unsigned(settings, sources), policy, is_signed=False))
    except Rejected as fault:
        return tuple(fault.detail.splitlines())
    return ()


# --- the signature ---------------------------------------------------------------------------------------------------


def _read_signed(settings: Settings) -> Signed:
    data = read_guarded(settings.bundle, absent=f"nothing is signed yet; {SIGN}")
    return _signed(_open(data, settings), settings)


def _open(data: bytes, settings: Settings) -> Envelope:
    try:
        token = data.decode("ascii").removesuffix("\n")
        return open_envelope(token, typ=BUNDLE_TYP, code=Code.BUNDLE_INVALID)
    except UnicodeDecodeError:
        raise _invalid(settings, "expected one compact JWS in ASCII") from None
    except Rejected as fault:
        raise _invalid(settings, fault.detail) from None


def _signed(envelope: Envelope, settings: Settings) -> Signed:
    """The claims of a bundle whose signature is an operator's."""
    keys = {key.kid: key for key in settings.operators}
    if envelope.kid not in keys:
        raise _invalid(settings, f"the key {shown(envelope.kid)} that signed it is not listed under operators")
    try:
        check_signature(envelope, keys[envelope.kid], code=Code.BUNDLE_INVALID)
    except Rejected as fault:
        raise _invalid(settings, fault.detail) from None
    claims = envelope.claims
    if set(claims) != _CLAIMS or claims["iss"] != ISSUER:
        raise _invalid(settings, f'expected exactly the claims {", ".join(sorted(_CLAIMS))}, and iss "{ISSUER}"')
    if claims["aud"] != settings.deployment:
        raise _invalid(settings, f"it is for another deployment than {shown(settings.deployment)}")
    version, iat, files = claims["version"], claims["iat"], claims["files"]
    if type(version) is not int or not 1 <= version <= MAX_EXACT_INT or type(iat) is not int or not 0 <= iat < 2**36:
        raise _invalid(settings, "expected a version of at least 1, and a time of signing")
    hashes = {name: text for name, text in files.items() if isinstance(text, str)} if isinstance(files, Mapping) else {}
    if not hashes or hashes != files or not all(_HASH.fullmatch(text) for text in hashes.values()):
        raise _invalid(settings, "expected files to map names to hex SHA-256")
    payload = unb64u(envelope.signing_input.decode().partition(".")[2], code=Code.BUNDLE_INVALID, field="payload")
    return Signed(
        version=version,
        files=hashes,
        kid=envelope.kid,
        at=from_epoch(iat),
        sha256=hashlib.sha256(payload).hexdigest(),
    )


def _unsigned(settings: Settings, sources: Sources) -> Signed:
    claims: dict[str, Json] = {"aud": settings.deployment, "version": 0, "files": sources.hashes}
    digest = hashlib.sha256(canonical_json(claims)).hexdigest()
    return Signed(version=0, files=sources.hashes, kid="", at=from_epoch(0), sha256=digest)


def _check_files(signed: Signed, sources: Sources) -> None:
    found, faults = sources.hashes, []
    for name in sorted(found.keys() | signed.files.keys()):
        if name not in found:
            faults.append(f"{name}: is in the signed bundle, but missing; put it back, or {SIGN}")
        elif name not in signed.files:
            faults.append(f"{name}: is not in the signed bundle; remove it, or {SIGN}")
        elif found[name] != signed.files[name]:
            faults.append(f"{name}: was changed after version {signed.version} was signed; look at it, then {SIGN}")
    if faults:
        raise Rejected(Code.BUNDLE_INVALID, "\n".join(faults))


def _check_floor(signed: Signed, floor: int) -> None:
    if signed.version < floor:
        detail = f"version {signed.version} is older than version {floor}, which this node has run"
        raise Rejected(Code.BUNDLE_INVALID, f"{detail}; put the newer one back, or {SIGN}")


def _bundle(settings: Settings, signed: Signed, policy: Policy, *, is_signed: bool) -> Bundle:
    pins = read_pins(settings.pinned)
    if pins.faults:
        raise Rejected(Code.BUNDLE_INVALID, "\n".join(pins.faults))
    return Bundle(
        deployment=settings.deployment,
        version=signed.version,
        sha256=signed.sha256,
        signed=is_signed,
        people=policy.people,
        agents=policy.agents,
        clusters=policy.clusters,
        deny=policy.deny,
        pins={**pins.clusters, **{cluster.digest: cluster for cluster in policy.clusters.values()}},
        operators=settings.operators,
        desk=policy.desk,
    )


def _invalid(settings: Settings, detail: str) -> Rejected:
    return Rejected(Code.BUNDLE_INVALID, f"{settings.bundle.name}: {detail}; {SIGN}")


# --- the version -----------------------------------------------------------------------------------------------------


def _version_on_disk(settings: Settings) -> int:
    """The version of the present bundle, signature unchecked: an operator's key may have been replaced since."""
    data = read_if_there(settings.bundle)
    if data is None:
        return 0
    try:
        version = _open(data, settings).claims.get("version")
    except Rejected:
        return 0  # what is there is no bundle; the floor still counts
    return version if type(version) is int and 0 < version < MAX_EXACT_INT else 0


def read_floor(state: Path) -> int:
    """The highest bundle version this node has run; 0 when it has run none.

    Raises:
        Rejected(BUNDLE_INVALID): the file is there, but not what `write_floor` writes.
    """
    path = state / FLOOR_FILE
    data = read_if_there(path, limit_bytes=64)
    if data is None:
        return 0
    text = data.decode("ascii", "replace").strip()
    if not re.fullmatch(r"[1-9][0-9]{0,15}", text):
        detail = f"{path}: expected the highest bundle version this node has run, got {shown(text)}; write it there"
        raise Rejected(Code.BUNDLE_INVALID, detail)
    return int(text)


def write_floor(state: Path, version: int) -> None:
    """Keep the highest version, durably; a lower one changes nothing."""
    if version > read_floor(state):
        write_whole(state / FLOOR_FILE, f"{version}\n".encode("ascii"), mode=0o600)
