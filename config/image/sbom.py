"""Writes what is in the image as CycloneDX 1.6, the same bytes for the same contents.

python3 sbom.py /opt/intent-proxy /usr/share/intent-proxy/sbom.cdx.json
"""

import json
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import quote

type Component = dict[str, object]
OURS = "intent-proxy"


def of_python(found: Distribution) -> Component:
    name, version = found.metadata["Name"], found.version
    made: Component = {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name.lower().replace('_', '-')}@{quote(version)}",
        "name": name,
        "version": version,
    }
    made["purl"] = made["bom-ref"]
    licence = found.metadata.get("License-Expression")
    return {**made, "licenses": [{"expression": licence}]} if licence else made


def of_debian(line: str) -> Component:
    name, version, architecture = line.split("\t")
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def main(environment: Path, target: Path) -> None:
    (site,) = environment.glob("lib/python3.*/site-packages")
    python = [of_python(each) for each in distributions(path=[str(site)])]
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package}\t${Version}\t${Architecture}\n"],
        check=True,
        capture_output=True,
        text=True,
    )
    debian = [of_debian(line) for line in listed.stdout.splitlines()]
    (own,) = (each for each in python if each["name"] == OURS)
    rest = sorted((each for each in (*python, *debian) if each is not own), key=lambda each: str(each["bom-ref"]))
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**own, "type": "application"}},
        "components": rest,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(bom, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
