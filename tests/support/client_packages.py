"""What package managers fetch: the smallest wheel and the smallest npm package there are, and where they lie."""

import base64
import hashlib
import io
import json
import tarfile
import zipfile

from origins import Origin, Reply

HTML = (("Content-Type", "text/html"),)


def wheel(name: str) -> bytes:
    """One module, its metadata and the record of both."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": b"WORD = 'installed'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{info}/RECORD"
    lines = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for path, data in files.items()
    ]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, data in {**files, record: "\n".join([*lines, f"{record},,", ""]).encode()}.items():
            archive.writestr(path, data)
    return packed.getvalue()


def serve_wheels(origin: Origin, *names: str) -> None:
    """Be a package index (PEP 503) for these."""
    for name in names:
        file, data = f"{name}-1.0-py3-none-any.whl", wheel(name)
        link = f'<a href="../../files/{file}#sha256={hashlib.sha256(data).hexdigest()}">{file}</a>'
        origin.on("*", f"/simple/{name}/", Reply(headers=HTML, body=link.encode()))
        origin.on("*", f"/files/{file}", Reply(body=data))


def serve_npm(origin: Origin, host: str, *names: str) -> None:
    """Be an npm registry for these."""
    for name in names:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for path, data in (
                ("package/package.json", json.dumps({"name": name, "version": "1.0.0"}).encode()),
                ("package/index.js", b"module.exports = 'installed'\n"),
            ):
                entry = tarfile.TarInfo(path)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        data = packed.getvalue()
        tarball = origin.url(f"/npm/{name}/-/{name}-1.0.0.tgz", host=host)
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
        version = {"name": name, "version": "1.0.0", "dist": {"tarball": tarball, "integrity": integrity}}
        document = {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        origin.on("*", f"/npm/{name}", Reply(json=document))
        origin.on("*", f"/npm/{name}/-/*", Reply(body=data))
