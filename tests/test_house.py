"""The walls of the house, as far as import-linter, ruff and mypy do not see them (DESIGN: the house)."""

import ast
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent

TOP_LEVEL = {
    *(".ci", ".gitignore", ".python-version", "CHANGELOG.md", "Dockerfile", "LICENSE", "Makefile", "README.md"),
    *("SECURITY.md", "addons", "bench", "config", "docs", "proxy", "pyproject.toml", "requirements-dev.lock"),
    *("requirements.lock", "requirements-clients.lock", "tests", ".dockerignore"),
}
ROOMS = {
    *(
        "__init__.py",
        "py.typed",
        "core",
        "ports.py",
        "gate.py",
        "deciding.py",
        "recording.py",
        "claims.py",
        "recalls.py",
        "delivering.py",
        "holding.py",
        "granting.py",
        "injecting.py",
        "judging.py",
        "news.py",
        "identify.py",
        "registry.py",
        "identity.py",
        "footing.py",
        "internal.py",
        "stores",
        "policy",
    ),
    *("audit", "review", "agent", "edge", "cli"),
    "waits.py",
}
HARD_LINES = 400
MAY_BE_LONGER = {"proxy/core/model.py"}  # every noun, in one place

CORE_MAY_IMPORT = {
    *("abc", "array", "base64", "binascii", "bisect", "collections", "copy", "dataclasses", "datetime", "enum"),
    *(
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "html.entities",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "string",
    ),
    *("struct", "types", "typing", "unicodedata", "urllib.parse", "zlib"),
    *("cryptography", "http_sf", "idna", "proxy", "brotli", "zstandard", "graphlib", "graphql", "jsonschema_rs"),
}
CORE_MAY_NOT_CALL = {
    "open",
    "print",
    "input",
    "exec",
    "eval",
    "compile",
    "__import__",
    "now",
    "utcnow",
    "today",
    "cast",
}

# Spelled so that this file does not contain them.
FOREIGN = tuple(
    "".join(parts) for parts in (("pypi", ".org"), ("pythonhosted", "."), ("npmjs", "."), ("debian", ".org"))
)
OUR_MACHINES = tuple("".join(parts) for parts in (("/", "work/"), ("/", "root/"), ("/opt/", "pypi"), (".pyenv", "/")))
UNFINISHED = tuple("".join(parts) for parts in (("TO", "DO"), ("FIX", "ME"), ("M", "VP")))


@cache
def files() -> tuple[Path, ...]:
    """Every file that is tracked or would be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def modules(*folders: str) -> list[Path]:
    return [path for path in files() if path.suffix == ".py" and path.is_relative_to(ROOT / folders[0])] + (
        modules(*folders[1:]) if len(folders) > 1 else []
    )


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """The absolute names a module imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)}:{node.lineno}: relative import"
            yield node.module or ""


def below(name: str, permitted: set[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in permitted)


# --- the core ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", modules("proxy/core"), ids=named)
def test_the_core_imports_only_what_is_pure(path: Path) -> None:
    assert [name for name in imports(path) if not below(name, CORE_MAY_IMPORT)] == []


@pytest.mark.parametrize("path", modules("proxy/core"), ids=named)
def test_the_core_neither_waits_nor_looks_around(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith | ast.Global), (
            f"{named(path)}:{getattr(node, 'lineno', 0)}: {type(node).__name__}"
        )
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert called not in CORE_MAY_NOT_CALL or (called == "compile" and isinstance(node.func, ast.Attribute)), (
                f"{named(path)}:{node.lineno}: {called}()"
            )


@pytest.mark.parametrize("path", modules("proxy/core"), ids=named)
def test_the_core_has_no_way_round_a_check(path: Path) -> None:
    """No `Any` and no cast; no comment that silences the type checker, the linter or coverage."""
    tree = ast.parse(path.read_text("utf-8"))
    assert not any(
        isinstance(node, ast.Name | ast.Attribute) and _word(node) in ("Any", "cast") for node in ast.walk(tree)
    )
    with tokenize.open(path) as stream:
        comments = [
            token.string for token in tokenize.generate_tokens(stream.readline) if token.type == tokenize.COMMENT
        ]
    silencers = ("type: ignore", "noqa", "no cover", "no branch", "pragma", "mypy:", "ruff:")
    assert [comment for comment in comments if any(word in comment for word in silencers)] == []


@pytest.mark.parametrize("path", modules("proxy/core"), ids=named)
def test_the_cores_data_are_frozen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                words = {each.arg for each in decorator.keywords} if isinstance(decorator, ast.Call) else set()
                if _word(decorator.func if isinstance(decorator, ast.Call) else decorator) == "dataclass":
                    assert {"frozen", "slots", "kw_only"} <= words, f"{named(path)}:{node.lineno}: {node.name}"


def _word(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


# --- the walls --------------------------------------------------------------------------------------------------------


def test_only_the_edge_knows_mitmproxy() -> None:
    importers = {
        named(path) for path in modules("proxy", "addons") if any(below(name, {"mitmproxy"}) for name in imports(path))
    }
    assert {name for name in importers if not name.startswith(("addons/", "proxy/edge/"))} == set()
    assert importers, "nothing imports mitmproxy: this test looks in the wrong place"


def test_only_the_redis_stores_know_redis() -> None:
    importers = {
        named(path) for path in modules("proxy", "addons") if any(below(name, {"redis"}) for name in imports(path))
    }
    assert {name for name in importers if not name.startswith("proxy/stores/redis")} == set()
    assert importers, "nothing imports redis: this test looks in the wrong place"


def test_the_package_itself_is_empty() -> None:
    assert (ROOT / "proxy/__init__.py").read_bytes() == b""
    assert (ROOT / "addons/__init__.py").read_bytes() == b""


def test_every_folder_of_code_is_a_package() -> None:
    """Without `__init__.py` a folder is a namespace: import-linter would not look into it."""
    folders = {path.parent for path in modules("proxy", "addons")}
    assert [named(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_the_top_level_stays_small() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in files()} - TOP_LEVEL == set()
    assert {
        path.relative_to(ROOT / "proxy").parts[0] for path in files() if path.is_relative_to(ROOT / "proxy")
    } - ROOMS == set()


def test_tests_are_no_packages() -> None:
    assert [named(path) for path in modules("tests") if path.name == "__init__.py"] == []


def test_helpers_of_tests_have_names_of_their_own() -> None:
    names = [path.stem for path in modules("tests/support") if not path.name.startswith("test_")]
    assert len(names) == len(set(names))
    assert [name for name in names if name in sys.stdlib_module_names] == []


@pytest.mark.parametrize("path", modules("proxy", "addons", "bench"), ids=named)
def test_a_module_fits_in_a_head(path: Path) -> None:
    lines = path.read_text("utf-8").count("\n")
    assert lines <= HARD_LINES or named(path) in MAY_BE_LONGER, (
        f"{named(path)} has {lines} lines: split it by what it does"
    )


# --- what is written --------------------------------------------------------------------------------------------------


def test_nothing_names_a_registry_or_a_machine() -> None:
    found = [
        f"{named(path)}: {word}"
        for path in files()
        for word in (*FOREIGN, *OUR_MACHINES)
        if path.name != "LICENSE" and word.encode() in path.read_bytes()
    ]
    assert found == []


def test_nothing_is_left_for_later() -> None:
    found = [
        f"{named(path)}: {word}"
        for path in files()
        for word in UNFINISHED
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".lua"}
        and word in path.read_text("utf-8").replace("-", " ").split()
    ]
    assert found == []


# --- what is installed ------------------------------------------------------------------------------------------------


def declared(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    texts = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    return {canonicalize_name(Requirement(text).name) for text in texts}


@cache
def distributions() -> Mapping[str, list[str]]:
    """Which distributions a top-level name comes from."""
    return packages_distributions()


def third_party(path: Path) -> set[str]:
    """The distributions a module imports from, our own and optional ones left out."""
    names = {name.partition(".")[0] for name in imports(path)} - sys.stdlib_module_names - {"proxy", "addons"}
    return {canonicalize_name(distributions().get(name, [name])[0]) for name in names}


ITS_LIBRARY = {
    "aiohttp_auth.py": {"aiohttp"},
    "flow.py": {"httpx"},
    "httpx_auth.py": {"httpx"},
    "httpx2_auth.py": {"httpx2"},
    "requests_auth.py": {"requests"},
}
"""What a module of the agent's side is for: who imports the one has the other."""


@pytest.mark.parametrize("path", modules("proxy/agent"), ids=named)
def test_the_agents_side_needs_the_base_distribution_only(path: Path) -> None:
    extra = declared("sidecar") if path.is_relative_to(ROOT / "proxy/agent/sidecar") else set()
    assert third_party(path) <= declared() | extra | ITS_LIBRARY.get(path.name, set())


@pytest.mark.parametrize("path", modules("proxy", "addons"), ids=named)
def test_every_import_is_declared(path: Path) -> None:
    optional = ITS_LIBRARY.get(path.name, set()) if path.is_relative_to(ROOT / "proxy/agent") else set()
    there = declared("server", "desk") | optional | {"pydantic-core"}  # part of pydantic's own interface
    assert third_party(path) <= there
