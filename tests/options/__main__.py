"""The data behind the check of `orthanc_configuration`: which options and DICOM keywords there are.

python -m tests.options write DIRECTORY    read clones of upstream's repositories (see sources.yml), write the data
python -m tests.options check DIRECTORY    tell whether the data are what that would write
python -m tests.options prove IMAGE        look for each option in the libraries of the image of Debian's packages
python -m tests.options start IMAGE        start its archive with all options right, then with each of a wrong type
"""

from __future__ import annotations

import json
import pathlib
import sys

from . import build


def main(arguments: list[str]) -> int:
    match arguments:
        case ["write" | "check" as verb, directory]:
            clones = pathlib.Path(directory)
            old = []
            for target, data in ((build.TARGET, build.build(clones)), (build.KEYWORDS, build.build_keywords(clones))):
                made = build.text(data)
                if verb == "write":
                    target.write_text(made, encoding="utf-8")
                elif target.read_text(encoding="utf-8") != made:
                    old.append(target.name)
            if old:
                print(f"{', '.join(old)}: not what upstream's files and tests/options say. Run it with write.")
                return 1
        case ["prove", image]:
            missing = build.prove(json.loads(build.TARGET.read_text(encoding="utf-8")), "debian", image)
            print("\n".join(missing) or "Every option stands in the library that is said to read it.")
            return 1 if missing else 0
        case ["start", image]:
            return build.start(json.loads(build.TARGET.read_text(encoding="utf-8")), image)
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
