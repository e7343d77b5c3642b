"""Puts together what upstream's sources say and what stands in curated.yml, and makes the collection's data."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
from typing import Any

import yaml

from . import upstream

HERE = pathlib.Path(__file__).parent
TARGET = HERE.parents[1] / "plugins/plugin_utils/_orthanc_options.json"
KEYWORDS = TARGET.with_name("_orthanc_keywords.json")
NOTE = "Made by `python -m tests.options write` from upstream's own files: change tests/options instead."

Options = dict[str, list[dict[str, Any]]]


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((HERE / name).read_text(encoding="utf-8"))


def clone(directory: pathlib.Path, name: str) -> upstream.Repository:
    """The repository, which lies in the directory as owner+name (with or without /repo below) or by its name alone."""
    for path in (
        directory / name.replace("/", "+") / "repo",
        directory / name.replace("/", "+"),
        directory / name.split("/")[1],
    ):
        if path.is_dir():
            return upstream.Repository(path)
    raise SystemExit(f"{directory} has no clone of {name}")


def read_release(product: dict[str, Any], repository: upstream.Repository, commit: str) -> dict[str, dict[str, Any]]:
    """Place → {type, default, since}, as one release has them."""
    texts = repository.files(commit, product["paths"] + product.get("documented", []))
    documents = {path: text for path, text in texts.items() if path in product.get("documented", [])}
    exclude = product.get("exclude")
    sources = {path: text for path, text in texts.items() if not (exclude and re.search(exclude, path))}
    foreign = set(product.get("foreign", []))
    found: dict[str, dict[str, Any]] = {}
    for place, option in upstream.called(sources, product.get("places", {})).items():
        if place not in foreign:
            types = sorted(option["types"])
            found[place] = {"type": types[0] if len(types) == 1 else types, "default": option.get("default")}
    words = upstream.quoted(sources)
    # The archive itself is documented with its section at the top, a plugin with its section around.
    for text in documents.values():
        for place, option in upstream.documented(text, product.get("section")).items():
            # What the archive's own file documents and no source names is dead, and so is an example of a value.
            if product.get("section") is None and (
                place.split(".")[-1] not in words or (option.get("commented") and "." in place)
            ):
                continue
            if not place.rsplit(".", 1)[-1][0].isupper() or any(
                place.startswith(f"{free}.") for free in product.get("free", [])
            ):
                continue
            known = found.setdefault(place, {"type": None, "default": None})
            known["type"] = known["type"] or option.get("type")
            if option.get("default") is not None:
                known["default"] = option["default"]
            if "since" in option:
                known["since"] = option["since"]
    return found


def read_product(product: dict[str, Any], directory: pathlib.Path) -> tuple[Options, list[str]]:
    """Place → variants, and the releases that were read. A variant: {since, before, type, default}."""
    repository = clone(directory, product["repository"])
    releases = repository.releases(product["releases"], product["oldest"])
    history = [(version, read_release(product, repository, commit)) for version, commit in releases.items()]
    history = [(version, options) for version, options in history if options or not product.get("libraries")]
    options: Options = {}
    for index, (version, found) in enumerate(history):
        for place, option in found.items():
            variants = options.setdefault(place, [])
            current = variants[-1] if variants and "before" not in variants[-1] else None
            if current is None:
                current = {"type": option["type"]}
                if index > 0:
                    current["since"] = version
                elif "since" in option:
                    current["since"] = option["since"]
                variants.append(current)
            elif option["type"] and current["type"] and option["type"] != current["type"]:
                if {option["type"], current["type"]} <= {"int", "uint"} or current["type"] == "list":
                    current["type"] = option["type"]
                else:
                    current["before"] = version
                    variants.append({"type": option["type"], "since": version})
                    current = variants[-1]
            current["type"] = current["type"] or option["type"]
            default = option["default"]
            if default is not None:
                past = current.setdefault("defaults", {})
                if not past or list(past.values())[-1] != default:
                    past["" if not past else version] = default
        for place, variants in options.items():
            if place not in found and "before" not in variants[-1]:
                variants[-1]["before"] = version
    for variants in options.values():
        for variant in variants:
            past = variant.pop("defaults", {})
            if past:
                variant["default"] = list(past.values())[-1]
            if len(past) > 1:
                variant["defaults"] = past
    return options, [version for version, _found in history]


def read_syntaxes(product: dict[str, Any], directory: pathlib.Path) -> dict[str, dict[str, str]]:
    """UID of a transfer syntax that the archive knows → {since, before}, oldest release first."""
    repository = clone(directory, product["repository"])
    found: dict[str, dict[str, str]] = {}
    read = 0
    for version, commit in repository.releases(product["releases"], product["oldest"]).items():
        texts = repository.files(commit, product["syntaxes"])
        uids = sorted(
            {uid for text in texts.values() for uid in re.findall(r'"(1\.2\.840\.10008\.1\.2[0-9.]*)"', text)}
        )
        if uids:
            for uid in uids:
                found.setdefault(uid, {"since": version} if read else {})
            for uid, variant in found.items():
                if uid not in uids:
                    variant.setdefault("before", version)
            read += 1
    return found


def read_keywords(product: dict[str, Any], directory: pathlib.Path) -> dict[str, dict[str, str]]:
    """DICOM keyword that the archive's dictionary has → {since, before}. Retired ones have DCMTK's prefix."""
    source = product["keywords"]
    repository, dcmtk = clone(directory, product["repository"]), clone(directory, source["repository"])
    found: dict[str, dict[str, str]] = {}
    dictionaries: dict[str, set[str]] = {}
    for version, commit in repository.releases(product["releases"], source["oldest"]).items():
        [release] = re.findall(source["named_as"], repository.git("show", f"{commit}:{source['named_in']}").decode())
        if release not in dictionaries:
            lines = dcmtk.git("show", f"{source['tag'].format(release)}:{source['dictionary']}").decode().splitlines()
            dictionaries[release] = {line.split("\t")[2] for line in lines if line.startswith("(")}
        variant = {} if version == source["oldest"] else {"since": version}
        for keyword in dictionaries[release] - set(found):
            found[keyword] = dict(variant)
        for keyword in set(found) - dictionaries[release]:
            found[keyword].setdefault("before", version)
    return dict(sorted(found.items()))


def image_versions(sources: dict[str, Any], directory: pathlib.Path) -> dict[str, str]:
    """Name of the image builder → version, as its build matrix says."""
    image = sources["image"]
    matrix = json.loads(clone(directory, image["repository"]).git("show", f"{image['tag']}:{image['versions']}"))
    return {entry["name"]: re.sub(r"^[A-Za-z0-9]*-(?=\d)", "", entry["stable"]) for entry in matrix["configs"]}


def full(place: str, section: str | None) -> str:
    if place.startswith("/"):
        return place[1:]
    return f"{section}.{place}" if section else place


def curate(options: Options, curated: dict[str, Any]) -> None:
    options.update(curated["variants"])
    for place, more in curated["options"].items():
        more = dict(more)
        of = more.pop("of", None)
        if place not in options:
            if of is None or "type" not in more:
                raise SystemExit(f"curated.yml: upstream has no {place}; give `of` and `type`, or take it out")
            options[place] = [{"of": of, **more}]
            continue
        for variant in options[place]:
            if of in (None, variant["of"]):
                variant.update(more)
            if variant.get("default", 0) is None:
                del variant["default"]
    for place in curated["not_options"]:
        if options.pop(place, None) is None:
            raise SystemExit(f"curated.yml: not_options has {place}, which nothing reads")


def build(directory: pathlib.Path) -> dict[str, Any]:
    sources, curated = load("sources.yml"), load("curated.yml")
    built = image_versions(sources, directory)
    options: Options = {}
    products: dict[str, Any] = {}
    image: dict[str, str] = {}
    for name, own in sources["products"].items():
        product = sources["products"].get(own.get("version_of"), {}) | own
        if "version_of" in own:
            product |= {"documented": own.get("documented", []), "exclude": own.get("exclude")}
        found, releases = read_product(product, directory)
        products[name] = {key: product[key] for key in ("section", "libraries") if key in product} | {
            "read": [releases[0], releases[-1]] if releases else []
        }
        if not own.get("not_in_image"):
            image[name] = built[product["builder"]]
        for place, variants in found.items():
            options.setdefault(full(place, product.get("section")), []).extend(
                {"of": name, **variant} for variant in variants
            )
    for name, unread in sources["unread"].items():
        products[name] = {"section": name, "libraries": unread["libraries"]}
        image[name] = built[unread["builder"]]
    curate(options, curated)
    for variants in options.values():
        for variant in variants:
            if variant["type"] is None:
                variant["type"] = "any"
    return {
        "note": NOTE,
        "carried": {"debian": sources["debian"], "orthancteam": image},
        "products": products,
        "dead": curated["dead"],
        "syntaxes": read_syntaxes(sources["products"]["Orthanc"], directory),
        "options": dict(sorted(options.items())),
    }


def build_keywords(directory: pathlib.Path) -> dict[str, Any]:
    return {"note": NOTE, "keywords": read_keywords(load("sources.yml")["products"]["Orthanc"], directory)}


def text(data: dict[str, Any]) -> str:
    """One option, product or dead key a line: a new release shows as lines in a diff."""
    parts = []
    for name, value in data.items():
        if isinstance(value, dict):
            lines = ",\n".join(
                f"  {json.dumps(key)}: {json.dumps(one, ensure_ascii=False)}" for key, one in value.items()
            )
            parts.append(f"{json.dumps(name)}: {{\n{lines}\n}}")
        elif isinstance(value, list):
            lines = ",\n".join(f"  {json.dumps(one, ensure_ascii=False)}" for one in value)
            parts.append(f"{json.dumps(name)}: [\n{lines}\n]")
        else:
            parts.append(f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def stands_in(word: str, content: bytes) -> bool:
    """Whether a program has the word. Compilers keep a short one in pieces of eight letters, and of three letters
    or less no trace that can be told."""
    if len(word) < 4:
        return True
    pieces = [word[start : start + 8] for start in range(0, len(word), 8)]
    whole = [piece for piece in pieces if len(piece) == 8] or [word[:4]]
    return word.encode() in content or all(piece.encode() in content for piece in whole)


def prove(data: dict[str, Any], flavor: str, image: str) -> list[str]:
    """Options that the data say the image knows, but that stand in none of its libraries. Needs docker."""
    missing = []
    contents: dict[str, bytes] = {}
    for name, version in data["carried"][flavor].items():
        files = [
            f"/usr/share/orthanc/plugins/lib{library}.so" for library in data["products"][name].get("libraries", {})
        ]
        files = files or ["/usr/sbin/Orthanc"]
        command = ["docker", "run", "--rm", "--entrypoint", "cat", image, *files]
        contents[name] = subprocess.run(command, check=True, capture_output=True).stdout
        for place, variants in data["options"].items():
            for variant in variants:
                since, before = variant.get("since", "0"), variant.get("before", "9999")
                carried = upstream.number(since) <= upstream.number(version) < upstream.number(before)
                if variant["of"] == name and carried and not stands_in(place.rsplit(".", 1)[-1], contents[name]):
                    missing.append(f"{place} ({name} {version})")
    return missing


def start(data: dict[str, Any], image: str) -> int:
    """Start the image's archive with every option right, then with each of a wrong type. Needs docker."""
    options = {}
    for place, variants in data["options"].items():
        for variant in variants:
            version = upstream.number(data["carried"]["debian"].get(variant["of"], "0"))
            since, before = variant.get("since", "0"), variant.get("before", "9999")
            if (
                variant["of"] in ("Orthanc", "DicomWeb", "Gdcm")
                and upstream.number(since) <= version < upstream.number(before)
                and "*" not in place
            ):
                options[place] = variant
    inside = ["--volume", f"{HERE / 'start.py'}:/start.py:ro", "--entrypoint", "python3", image, "/start.py"]
    command = ["docker", "run", "--rm", "--interactive", *inside]
    return subprocess.run(command, input=json.dumps(options), text=True, check=False).returncode
