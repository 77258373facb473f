"""The signed bundle: what is in force is what an operator signed, byte for byte, and never an older version."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identities import NOW, key
from written import OPERATOR, Deployment, deployment

from proxy.core.encoding import Json, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.jws import seal
from proxy.policy import sources as sources_module
from proxy.policy.bundle import (
    BUNDLE_TYP,
    faults_of,
    load_bundle,
    read_floor,
    sign_bundle,
    verify_bundle,
    write_floor,
)
from proxy.policy.example import key_line
from proxy.policy.files import read_guarded


@pytest.fixture
def house(tmp_path: Path) -> Deployment:
    return deployment(tmp_path)


@pytest.fixture
def signed(house: Deployment) -> Deployment:
    house.sign()
    return house


def refusal(house: Deployment, *, dev: bool = False, floor: int = 0) -> Rejected:
    with pytest.raises(Rejected) as refused:
        load_bundle(house.settings, dev=dev, floor=floor)
    return refused.value


def bundle_says(house: Deployment, text: str, *, floor: int = 0) -> None:
    refused = refusal(house, floor=floor)
    assert (refused.code, refused.detail) == (Code.BUNDLE_INVALID, text)


# --- what passes -----------------------------------------------------------------------------------------------------


def test_a_signed_bundle_is_what_people_wrote(signed: Deployment) -> None:
    got = load_bundle(signed.settings, dev=False, floor=0)
    assert (got.deployment, got.version, got.signed) == ("accounts-payable", 1, True)
    assert set(got.people) == {"maria", "jonas"}
    assert set(got.agents) == {"invoice-bot"}
    assert set(got.clusters) == {"supplier-invoices", "supplier-payments"}
    assert [rule.id for rule in got.deny] == ["no-administration"]
    assert got.operators == (OPERATOR.public,)
    assert set(got.pins) == {cluster.digest for cluster in got.clusters.values()}
    assert {path.stem for path in (signed.directory / "pinned").iterdir()} == set(got.pins)


def test_signing_tells_what_was_signed_and_verifying_tells_the_same(house: Deployment) -> None:
    made = house.sign()
    assert (made.version, made.kid, made.at) == (1, OPERATOR.public.kid, NOW)
    assert made.files == {
        name: hashlib.sha256(house.read(name).encode()).hexdigest()
        for name in ("people.yaml", "agents.yaml", "clusters.yaml")
    }
    assert verify_bundle(house.settings) == made
    assert load_bundle(house.settings, dev=False, floor=0).sha256 == made.sha256


def test_the_version_goes_up_by_one(signed: Deployment) -> None:
    assert signed.sign().version == 2


def test_the_version_follows_the_floor_when_the_bundle_is_gone(signed: Deployment) -> None:
    write_floor(signed.settings.state, 7)
    (signed.directory / "bundle.jws").unlink()
    assert signed.sign().version == 8


def test_the_version_follows_a_bundle_of_a_former_operator(signed: Deployment) -> None:
    signed.sign()
    other = key("second operator")
    signed.change("proxy.yaml", key_line(OPERATOR.public), key_line(other.public))
    assert "is not listed under operators" in refusal(signed).detail
    assert sign_bundle(signed.settings, other, now=NOW).version == 3


def test_a_broken_bundle_can_be_signed_over(house: Deployment) -> None:
    house.write("bundle.jws", "no bundle")
    assert house.sign().version == 1


def test_dev_needs_no_signature_and_says_so(house: Deployment) -> None:
    got = load_bundle(house.settings, dev=True, floor=5)
    assert (got.signed, got.version) == (False, 0)
    assert set(got.pins) == {cluster.digest for cluster in got.clusters.values()}


def test_dev_has_another_hash_once_a_file_differs(house: Deployment) -> None:
    before = load_bundle(house.settings, dev=True, floor=0).sha256
    house.change("people.yaml", "Financial controller", "Auditor")
    assert load_bundle(house.settings, dev=True, floor=0).sha256 != before


def test_an_old_version_of_a_cluster_stays_pinned(signed: Deployment) -> None:
    before = load_bundle(signed.settings, dev=False, floor=0).clusters["supplier-invoices"]
    signed.change("clusters.yaml", "methods: [GET]", "methods: [GET, HEAD]")
    signed.sign()
    after = load_bundle(signed.settings, dev=False, floor=0)
    assert after.clusters["supplier-invoices"].digest != before.digest
    assert after.pins[before.digest].operations[0].methods == before.operations[0].methods


def test_a_directory_of_clusters_is_read_whole(house: Deployment) -> None:
    house.write("rules/a.yaml", house.read("clusters.yaml"))
    house.write("rules/b.yaml", "version: 1\ndeny:\n  - {id: other, hosts: [other.example]}\n")
    house.write("rules/.b.yaml.swp", "not read")
    house.write("rules/notes.txt", "not read")
    (house.directory / "clusters.yaml").unlink()
    house.change("proxy.yaml", "workers: 2", "workers: 2\nclusters: rules")
    assert set(house.sign().files) == {"people.yaml", "agents.yaml", "rules/a.yaml", "rules/b.yaml"}
    got = load_bundle(house.settings, dev=False, floor=0)
    assert [(rule.id, rule.at.file, rule.at.line) for rule in got.deny] == [
        ("no-administration", "rules/a.yaml", 47),
        ("other", "rules/b.yaml", 3),
    ]


def test_a_file_elsewhere_is_signed_under_its_whole_path(
    house: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = deployment(tmp_path_factory.mktemp("elsewhere"))
    people = elsewhere.directory / "people.yaml"
    house.change("proxy.yaml", "workers: 2", f"workers: 2\npeople: {people}")
    assert set(house.sign().files) == {str(people), "agents.yaml", "clusters.yaml"}


# --- files and signature ---------------------------------------------------------------------------------------------

LOOK = "look at it, then run: intent-proxy bundle sign"


@pytest.mark.parametrize("name", ["people.yaml", "agents.yaml", "clusters.yaml"])
def test_a_changed_file_is_refused(signed: Deployment, name: str) -> None:
    signed.write(name, signed.read(name) + "# a comment\n")
    bundle_says(signed, f"{name}: was changed after version 1 was signed; {LOOK}")
    signed.sign()
    assert load_bundle(signed.settings, dev=False, floor=0).version == 2


def test_a_file_nobody_signed_is_refused(signed: Deployment) -> None:
    signed.write("more.yaml", "version: 1\nclusters: []\n")
    signed.change("proxy.yaml", "workers: 2", "workers: 2\nclusters: [clusters.yaml, more.yaml]")
    bundle_says(signed, "more.yaml: is not in the signed bundle; remove it, or run: intent-proxy bundle sign")


def test_a_signed_file_that_is_left_out_is_refused(signed: Deployment) -> None:
    signed.write("rules/a.yaml", signed.read("clusters.yaml"))
    signed.write("rules/b.yaml", "version: 1\ndeny: [{id: other, hosts: [other.example]}]\n")
    signed.change("proxy.yaml", "workers: 2", "workers: 2\nclusters: rules")
    signed.sign()
    (signed.directory / "rules/b.yaml").unlink()
    bundle_says(
        signed, "rules/b.yaml: is in the signed bundle, but missing; put it back, or run: intent-proxy bundle sign"
    )


def test_every_differing_file_is_told(signed: Deployment) -> None:
    for name in ("people.yaml", "agents.yaml"):
        signed.write(name, signed.read(name) + "# a comment\n")
    assert [line.partition(":")[0] for line in refusal(signed).detail.splitlines()] == ["agents.yaml", "people.yaml"]


def test_without_a_signature_nothing_loads(house: Deployment) -> None:
    refused = refusal(house)
    assert refused.detail == (
        f"{house.directory / 'bundle.jws'}: there is no such file; nothing is signed yet; run: intent-proxy bundle sign"
    )
    assert load_bundle(house.settings, dev=True, floor=0).signed is False


def test_an_older_version_is_refused_and_the_same_is_not(signed: Deployment) -> None:
    old = signed.read("bundle.jws")
    signed.sign()
    assert load_bundle(signed.settings, dev=False, floor=2).version == 2
    signed.write("bundle.jws", old)
    bundle_says(
        signed,
        "version 1 is older than version 2, which this node has run; put the newer one back, "
        "or run: intent-proxy bundle sign",
        floor=2,
    )


def claims(house: Deployment) -> dict[str, Json]:
    files = {
        name: hashlib.sha256(house.read(name).encode()).hexdigest()
        for name in ("people.yaml", "agents.yaml", "clusters.yaml")
    }
    return {"iss": "operator", "aud": "accounts-payable", "iat": to_epoch(NOW), "version": 1, "files": dict(files)}


def changing(**changes: Json) -> Callable[[Deployment], str]:
    def make(house: Deployment) -> str:
        members = {name: value for name, value in {**claims(house), **changes}.items() if value is not None}
        return seal(members, typ=BUNDLE_TYP, key=OPERATOR)

    return make


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        pytest.param(
            lambda house: seal(claims(house), typ=BUNDLE_TYP, key=key("mallory")),
            f'the key "{key("mallory").public.kid}" that signed it is not listed under operators',
            id="a key nobody pinned",
        ),
        pytest.param(
            lambda house: seal(claims(house), typ="intent-manifest+jwt", key=OPERATOR),
            "the JWS must be of type intent-bundle+jwt, got 'intent-manifest+jwt'",
            id="another kind of statement",
        ),
        pytest.param(
            lambda house: seal(claims(house), typ=BUNDLE_TYP, key=OPERATOR)[:-4] + "AAAA",
            f"the signature is not that of key {OPERATOR.public.kid}",
            id="a signature of something else",
        ),
        pytest.param(lambda _: "é", "expected one compact JWS in ASCII", id="no ASCII"),
        pytest.param(
            lambda _: "a.b",
            "expected a compact JWS of three parts and at most 16384 characters, got 2 with 3",
            id="no JWS",
        ),
        pytest.param(
            changing(aud="elsewhere"), 'it is for another deployment than "accounts-payable"', id="another deployment"
        ),
        pytest.param(
            changing(iss="maria"),
            'expected exactly the claims aud, files, iat, iss, version, and iss "operator"',
            id="another issuer",
        ),
        pytest.param(
            changing(extra=1),
            'expected exactly the claims aud, files, iat, iss, version, and iss "operator"',
            id="one claim too many",
        ),
        pytest.param(
            changing(iat=None),
            'expected exactly the claims aud, files, iat, iss, version, and iss "operator"',
            id="one claim too few",
        ),
        pytest.param(
            changing(version=0), "expected a version of at least 1, and a time of signing", id="version nought"
        ),
        pytest.param(
            changing(version="1"), "expected a version of at least 1, and a time of signing", id="version as text"
        ),
        pytest.param(
            changing(version=True), "expected a version of at least 1, and a time of signing", id="version as flag"
        ),
        pytest.param(
            changing(iat=-1), "expected a version of at least 1, and a time of signing", id="signed before time"
        ),
        pytest.param(
            changing(iat=2**52), "expected a version of at least 1, and a time of signing", id="signed after time"
        ),
        pytest.param(changing(files=[]), "expected files to map names to hex SHA-256", id="files no mapping"),
        pytest.param(changing(files={}), "expected files to map names to hex SHA-256", id="no files"),
        pytest.param(
            changing(files={"people.yaml": "00"}), "expected files to map names to hex SHA-256", id="a short hash"
        ),
        pytest.param(
            changing(files={"people.yaml": 1}),
            "expected files to map names to hex SHA-256",
            id="a hash that is a number",
        ),
    ],
)
def test_a_statement_that_is_no_bundle_of_ours_is_refused(
    house: Deployment, make: Callable[[Deployment], str], fault: str
) -> None:
    house.write("bundle.jws", make(house))
    bundle_says(house, f"bundle.jws: {fault}; run: intent-proxy bundle sign")
    house.write("bundle.jws", changing()(house))
    assert load_bundle(house.settings, dev=False, floor=0).signed


def test_no_operator_means_nothing_loads_without_dev(signed: Deployment) -> None:
    text = signed.read("proxy.yaml")
    signed.write("proxy.yaml", text[: text.index("operators:")])
    assert "that signed it is not listed under operators" in refusal(signed).detail


def test_a_file_swapped_after_it_was_hashed_is_not_what_is_used(
    signed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_then_swap(path: Path, **kwargs: str) -> bytes:
        data = read_guarded(path, absent=kwargs.get("absent", ""))
        path.write_text("version: 1\ndeny: []\n")
        return data

    monkeypatch.setattr(sources_module, "read_guarded", read_then_swap)
    got = load_bundle(signed.settings, dev=False, floor=0)
    assert set(got.clusters) == {"supplier-invoices", "supplier-payments"}
    assert set(got.people) == {"maria", "jonas"}
    monkeypatch.undo()
    assert "was changed after version 1 was signed" in refusal(signed).detail


# --- what is wrong in the files --------------------------------------------------------------------------------------


def test_faults_of_all_files_are_told_together(house: Deployment) -> None:
    house.change("agents.yaml", "sponsor: maria", "sponsor: mario")
    house.change("clusters.yaml", "hosts:", "host:")
    house.change("people.yaml", "deputy: jonas", "deputy: jonah")
    assert faults_of(house.proxy_yaml) == (
        'people.yaml:17: deputy of person "maria": there is no person "jonah"; did you mean "jonas"?',
        'clusters.yaml:10: unknown key "host" in cluster "supplier-invoices"; did you mean "hosts"?',
    )
    house.change("people.yaml", "deputy: jonah", "deputy: jonas")
    assert faults_of(house.proxy_yaml) == (
        'agents.yaml:9: sponsor of agent "invoice-bot": there is no person "mario"; did you mean "maria"?',
        'clusters.yaml:10: unknown key "host" in cluster "supplier-invoices"; did you mean "hosts"?',
    )
    refused = refusal(house, dev=True)
    assert (refused.code, tuple(refused.detail.splitlines())) == (Code.CONFIG_INVALID, faults_of(house.proxy_yaml))


def test_an_agent_may_not_have_a_persons_key(house: Deployment) -> None:
    line = house.read("people.yaml").splitlines()[19].strip()
    bot = house.read("agents.yaml").splitlines()[11].strip()
    assert line != bot
    house.change("agents.yaml", bot, line)
    (fault,) = faults_of(house.proxy_yaml)
    assert fault.startswith('agents.yaml:12: keys of agent "invoice-bot": the key ')
    assert fault.endswith('is already that of person "maria"; everyone needs a key of their own')


def test_an_agent_may_not_have_a_persons_id(house: Deployment) -> None:
    house.change("agents.yaml", "id: invoice-bot", "id: maria")
    assert faults_of(house.proxy_yaml) == (
        'agents.yaml:7: id of agent "maria": "maria" is already person "maria"; choose another',
    )


def test_nothing_is_wrong_with_the_example(house: Deployment) -> None:
    assert faults_of(house.proxy_yaml) == ()


def test_settings_that_are_wrong_are_told_as_well(house: Deployment) -> None:
    house.change("proxy.yaml", "workers: 2", "workers: 0")
    assert faults_of(house.proxy_yaml) == ("proxy.yaml:7: workers: expected a whole number from 1 to 64, got 0",)


def test_what_is_wrong_is_not_signed(house: Deployment) -> None:
    house.change("clusters.yaml", "hosts:", "host:")
    with pytest.raises(Rejected, match='unknown key "host"'):
        house.sign()
    assert not (house.directory / "bundle.jws").exists()
    assert not (house.directory / "pinned").exists()


def test_templates_that_would_branch_too_far_are_not_signed(house: Deployment) -> None:
    wild = [[f"{{p{place}}}" if number >> place & 1 else "x" for place in range(10)] for number in range(1024)]
    parts = ["/" + "/".join(segments) for segments in wild]
    operations = "".join(f"      - {{name: o{n}, methods: [GET], path: '{path}'}}\n" for n, path in enumerate(parts))
    house.change("clusters.yaml", "    operations:\n", f"    operations:\n{operations}")
    (told,) = faults_of(house.proxy_yaml)
    assert told.startswith("clusters.yaml:13: below /x/x/x/x one path could mean more than 32 operations: ")
    with pytest.raises(Rejected) as refused:
        house.sign()
    assert refused.value.code is Code.CONFIG_INVALID


def test_only_an_operators_key_signs(house: Deployment) -> None:
    kid = key("mallory").public.kid
    with pytest.raises(Rejected) as refused:
        sign_bundle(house.settings, key("mallory"), now=NOW)
    assert refused.value.detail == f"proxy.yaml: the key {kid} is not listed under operators; add its public half there"
    assert not (house.directory / "bundle.jws").exists()


def test_more_files_than_one_bundle_holds_are_not_signed(house: Deployment) -> None:
    for number in range(150):
        house.write(f"rules/{number:03}.yaml", "version: 1\nclusters: []\n")
    house.change("proxy.yaml", "workers: 2", "workers: 2\nclusters: rules")
    with pytest.raises(Rejected, match="152 files are too many for one bundle; put the clusters into fewer files"):
        house.sign()


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        pytest.param(
            "proxy.yaml",
            "workers: 2",
            "workers: 2\npeople: agents.yaml",
            "agents.yaml: proxy.yaml names this file twice; name it once",
            id="a file twice",
        ),
        pytest.param(
            "proxy.yaml",
            "workers: 2",
            "workers: 2\nclusters: none.yaml",
            "none.yaml: there is no such file; mend the path in proxy.yaml, or put the file back",
            id="a file that is not there",
        ),
    ],
)
def test_files_that_cannot_be_read_are_refused(house: Deployment, name: str, old: str, new: str, fault: str) -> None:
    house.change(name, old, new)
    assert faults_of(house.proxy_yaml) == (f"{house.directory}/{fault}",)


def test_a_file_that_would_be_passed_over_by_its_name_is_refused(house: Deployment) -> None:
    house.write("rules/a.yml", house.read("clusters.yaml"))
    house.change("proxy.yaml", "workers: 2", "workers: 2\nclusters: rules")
    assert faults_of(house.proxy_yaml) == (f'{house.directory}/rules/a.yml: would not be read; name it "a.yaml"',)


@pytest.mark.parametrize("name", ["proxy.yaml", "people.yaml", "agents.yaml", "clusters.yaml", "bundle.jws"])
def test_a_file_others_may_write_is_refused(signed: Deployment, name: str) -> None:
    path = signed.directory / name
    path.chmod(0o660)
    with pytest.raises(Rejected, match=f"{name}: group or others may write to it; run: chmod go-w "):
        load_bundle(signed.settings, dev=False, floor=0)
    path.chmod(0o640)
    assert load_bundle(signed.settings, dev=False, floor=0).signed


def test_a_directory_others_may_write_is_refused(signed: Deployment) -> None:
    signed.directory.chmod(0o777)
    with pytest.raises(Rejected, match="group or others may write to it; run: chmod go-w "):
        load_bundle(signed.settings, dev=False, floor=0)


def test_a_changed_pin_is_refused_and_named(signed: Deployment) -> None:
    path = next(iter((signed.directory / "pinned").iterdir()))
    text = path.read_text()
    path.write_text(text.replace("erp.example", "evil.example"))
    refused = refusal(signed)
    assert refused.code is Code.BUNDLE_INVALID
    assert refused.detail.startswith(f"{path}: it was changed: ")
    assert refusal(signed, dev=True).detail == refused.detail
    path.write_text(text)
    assert load_bundle(signed.settings, dev=False, floor=0).signed


# --- the floor -------------------------------------------------------------------------------------------------------


def test_the_floor_starts_at_nought_and_only_rises(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert read_floor(tmp_path) == 0
    write_floor(tmp_path, 3)
    write_floor(tmp_path, 2)
    assert read_floor(tmp_path) == 3
    assert (tmp_path / "bundle.floor").stat().st_mode & 0o777 == 0o600
    write_floor(tmp_path, 0)
    assert read_floor(tmp_path) == 3


@pytest.mark.parametrize("text", ["", "0", "-1", "3.0", "three", "1" * 17, "1\n2"])
def test_a_floor_that_is_no_version_is_refused(tmp_path: Path, text: str) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "bundle.floor"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(Rejected, match="expected the highest bundle version this node has run") as refused:
        read_floor(tmp_path)
    assert refused.value.code is Code.BUNDLE_INVALID


# --- properties ------------------------------------------------------------------------------------------------------


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["people.yaml", "agents.yaml", "clusters.yaml", "bundle.jws", "proxy.yaml"]),
    place=st.integers(0, 10_000),
    bit=st.integers(0, 7),
)
def test_one_flipped_bit_anywhere_is_refused(signed: Deployment, name: str, place: int, bit: int) -> None:
    path = signed.directory / name
    before = path.read_bytes()
    changed = bytearray(before)
    changed[place % len(changed)] ^= 1 << bit
    path.write_bytes(bytes(changed))
    try:
        got = load_bundle(signed.settings, dev=False, floor=0)
        assert name == "proxy.yaml"  # not signed: this file names the operators
        assert got.version == 1
    except Rejected:
        pass
    finally:
        path.write_bytes(before)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["people.yaml", "agents.yaml", "clusters.yaml", "bundle.jws", "proxy.yaml"]),
    data=st.binary(max_size=80),
)
def test_any_bytes_in_any_file_are_refused_as_people_expect(signed: Deployment, name: str, data: bytes) -> None:
    path = signed.directory / name
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        for dev in (False, True):
            if not (dev and name == "bundle.jws"):
                with pytest.raises(Rejected):
                    load_bundle(signed.settings, dev=dev, floor=0)
        if name != "bundle.jws":
            assert faults_of(signed.proxy_yaml)
    finally:
        path.write_bytes(before)
