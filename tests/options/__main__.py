"""Generate and verify the data of the check of `orthanc_configuration`: options and DICOM keywords.

python -m tests.options write DIRECTORY    read clones of upstream's repositories (see sources.yml), write the data
python -m tests.options check DIRECTORY    fail when the data differ from what `write` would write
python -m tests.options verify IMAGE       search for each option in the libraries of the image of Debian's packages
python -m tests.options start IMAGE        start its Orthanc with all options right, then with each of a wrong type
"""

from __future__ import annotations

import json
import pathlib
import sys

from . import build


def main(arguments: list[str]) -> int:
    match arguments:
        case ["write" | "check" as action, directory]:
            clones = pathlib.Path(directory)
            outdated = []
            for target, data in (
                (build.TARGET, build.build_options(clones)),
                (build.KEYWORDS, build.build_keywords(clones)),
            ):
                generated = build.format_data(data)
                if action == "write":
                    target.write_text(generated, encoding="utf-8")
                elif target.read_text(encoding="utf-8") != generated:
                    outdated.append(target.name)
            if outdated:
                print(f"{', '.join(outdated)} differ from upstream's files and tests/options. Run it with write.")
                return 1
        case ["verify", image]:
            missing = build.verify_options(json.loads(build.TARGET.read_text(encoding="utf-8")), "debian", image)
            print("\n".join(missing) or "Every option is in the library that reads it.")
            return 1 if missing else 0
        case ["start", image]:
            return build.start_orthanc(json.loads(build.TARGET.read_text(encoding="utf-8")), image)
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
