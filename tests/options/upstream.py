"""Read the options of Orthanc and its plugins from upstream's repositories, release by release."""

from __future__ import annotations

import io
import json
import pathlib
import re
import subprocess
import tarfile
from typing import Any

SUFFIXES = (".cpp", ".h", ".json")
TYPES = {
    "Boolean": "bool",
    "Float": "float",
    "Integer": "int",
    "UnsignedInteger": "uint",
    "String": "str",
    "RootPath": "str",
    "ListOfStrings": "strings",
    "SetOfStrings": "strings",
    "SetOfTags": "strings",
    "Dictionary": "dict",
}
# GetBooleanParameter("Name", false), LookupStringValue(target, NAME), GetListOfStringsParameter(target, "Name")…
CALL = re.compile(
    r"\b(?:Get(?P<got>Boolean|Float|Integer|UnsignedInteger|String|RootPath)(?:Parameter|Value)?\s*\(\s*"
    r"|(?:Get(?=List|Set|Dict)|Lookup)(?P<looked>"
    + "|".join(sorted(TYPES, key=len, reverse=True))
    + r")(?:Parameter|Value)?"
    r"\s*\(\s*[a-zA-Z_][\w.\->\[\]]*\s*,\s*)"  # what it is read into
    r'(?P<name>"[A-Za-z0-9_]+"|[A-Z][A-Z0-9_]+)\s*(?:,\s*(?P<default>[^;]*?))?\)',
    re.S,
)
CONSTANT = re.compile(
    r"(?:#\s*define\s+([A-Z][A-Z0-9_]+)\s+|(?:char|std::string)\b[\w\s*]*?\b([A-Z][A-Z0-9_]+)\s*(?:\[\])?\s*=\s*)"
    r'"([A-Za-z0-9_]+)"'
)


def parse_version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


class Repository:
    """A clone, bare or not. Nothing needs to be checked out."""

    def __init__(self, path: pathlib.Path) -> None:
        self.git_directory = path / ".git" if (path / ".git").is_dir() else path

    def git(self, *arguments: str) -> bytes:
        command = ["git", f"--git-dir={self.git_directory}", *arguments]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def releases(self, pattern: str, oldest: str) -> dict[str, str]:
        """Return version → commit. A commit named after the release wins over a tag, and a tag over a branch."""
        found: dict[str, str] = {}
        for line in self.git("for-each-ref", "--format=%(refname)").decode().splitlines():
            match = re.fullmatch(rf"refs/(?:remotes/\w+/|heads/|tags/)(?:branches/)?{pattern}", line)
            if match and (match[1] not in found or line.startswith("refs/tags/")):
                found[match[1]] = line
        for line in self.git("log", "--all", "--format=%H %s").decode(errors="replace").splitlines():
            commit, _blank, subject = line.partition(" ")
            if match := re.fullmatch(pattern, subject):
                found[match[1]] = commit
        kept = {version: found[version] for version in found if parse_version(version) >= parse_version(oldest)}
        return dict(sorted(kept.items(), key=lambda item: parse_version(item[0])))

    def files(self, commit: str, paths: list[str]) -> dict[str, str]:
        """Return path → text of the sources below those paths that the commit has."""
        listed = self.git("ls-tree", "-r", "--name-only", commit).decode().splitlines()
        wanted = [
            name
            for name in listed
            if name.endswith(SUFFIXES) and any(name == path or name.startswith(f"{path}/") for path in paths)
        ]
        if not wanted:
            return {}
        texts = {}
        with tarfile.open(fileobj=io.BytesIO(self.git("archive", "--format=tar", commit, "--", *wanted))) as archive:
            for member in archive:
                if stream := archive.extractfile(member):
                    texts[member.name] = stream.read().decode(errors="replace")
        return texts


def strip_comments(text: str) -> str:
    """Return JSON without // and /* */ comments, with strings unchanged."""
    return re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', lambda match: match[1] or "", text, flags=re.S)


def parse_json(text: str) -> Any:
    return json.loads(re.sub(r",(\s*[}\]])", r"\1", strip_comments(text)))


def type_of(value: Any) -> str | None:
    if isinstance(value, list):
        return "strings" if value and all(isinstance(part, str) for part in value) else "list"
    return {bool: "bool", int: "int", float: "float", str: "str", dict: "dict"}.get(type(value))


def read_document(text: str, section: str | None) -> dict[str, dict[str, Any]]:
    """Return place → {type, default, since, commented} of the options in one of upstream's commented JSON files.

    Places are relative to the section. Commented-out options are there to be copied, and so are examples of values: the
    caller tells them apart.
    """
    found: dict[str, dict[str, Any]] = {}

    def walk(value: dict[str, Any], above: str) -> None:
        for name, part in value.items():
            found[above + name] = {"type": type_of(part), "default": part}
            if isinstance(part, dict):
                walk(part, f"{above}{name}.")

    content = parse_json(text)
    walk(content[section] if section else content, "")

    path: list[str] = []
    last, remark = "", ""
    for token in re.finditer(r'//[^\n]*(?:\n\s*//[^\n]*)*|/\*.*?\*/|"(?:\\.|[^"\\])*"|[{}\[\]]', text, re.S):
        word = token[0]
        if word.startswith('"'):
            last = word[1:-1]
            place = ".".join([*path, last])
            if re.match(r"\s*:", text[token.end() :]):
                record_since(found, place, section, remark)
                remark = ""
        elif word in "{[":
            path.append(last)
            last = ""
        elif word in "}]":
            path.pop()
        else:
            remark += word
            depth = 0
            for part in re.finditer(r'"([A-Za-z0-9]\w*)"\s*:|[{}\[\]]', word):
                if part[1] and depth == 0:
                    place = ".".join([*path, part[1]])
                    relative = make_relative(place, section)
                    if relative is not None:
                        found.setdefault(relative, {"commented": True})
                        record_since(
                            found,
                            place,
                            section,
                            remark[: len(remark) - len(word) + part.start()] + word[part.end() :].split("\n")[0],
                        )
                        remark = word[part.end() :]
                elif not part[1]:
                    depth += 1 if part[0] in "{[" else -1
    return found


def make_relative(place: str, section: str | None) -> str | None:
    """Return the place relative to the section, or None outside of it. The first part is the file's own brace."""
    names = place.split(".")[1:]
    if section:
        if names[:1] != [section] or len(names) == 1:
            return None
        names = names[1:]
    return ".".join(names) or None


def record_since(found: dict[str, dict[str, Any]], place: str, section: str | None, remark: str) -> None:
    relative = make_relative(place, section)
    news = re.findall(
        r"[Nn]ew\s+(?:experimental feature\s+)?in\s+Orthanc\s+(\d+\.\d+\.\d+)", re.sub(r"\n\s*(?://|\*)?", " ", remark)
    )
    if relative in found and news and section is None:
        found[relative].setdefault("since", news[-1])


def parse_literal(text: str | None) -> Any:
    """Return the value of a C++ literal, or None for an expression."""
    text = re.sub(r"/\*.*?\*/|//.*", "", text or "", flags=re.S).strip()
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?\d+u?", text):
        return int(text.rstrip("u"))
    if match := re.fullmatch(r'"([^"\\]*)"', text):
        return match[1]
    return None


def read_calls(texts: dict[str, str], places: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return place → {types, default} of the options that the sources read by calls."""
    constants = {
        path: {match[1] or match[2]: match[3] for match in CONSTANT.finditer(text)} for path, text in texts.items()
    }
    everywhere = {name: value for one in constants.values() for name, value in one.items()}
    found: dict[str, dict[str, Any]] = {}

    for path, text in texts.items():
        if path.endswith(".json"):
            continue
        for match in CALL.finditer(text):
            word = match["name"]
            name = word.strip('"') if word.startswith('"') else constants[path].get(word, everywhere.get(word))
            if name is None or not name[0].isupper():
                continue
            option = found.setdefault(places.get(word, places.get(name, name)), {"types": set()})
            sort = TYPES[match["got"] or match["looked"]]
            option["types"].add(sort)
            if (value := parse_literal(match["default"])) is not None and sort != "strings":
                option["default"] = value
    return found


def read_strings(texts: dict[str, str]) -> set[str]:
    """Return every word that is a string in the sources."""
    return {word for path, text in texts.items() if not path.endswith(".json") for word in re.findall(r'"(\w+)"', text)}
