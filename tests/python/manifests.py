"""Checks Kubernetes manifests against the schemas of every Kubernetes from 1.30 on that kubernetes-validate has.

Strictly: a field that a schema does not know is an error. Custom resources have no schema there; their kinds
are named with --custom, and the caller checks them in another way.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor

import kubernetes_validate
import yaml

OLDEST = (1, 30)


def versions():
    """Each minor version once, oldest first."""
    found = {tuple(int(n) for n in v.split(".")[:2]) for v in kubernetes_validate.utils.all_versions()}
    return [f"{major}.{minor}" for major, minor in sorted(found) if (major, minor) >= OLDEST]


def documents(files):
    for file in files:
        with open(file, encoding="utf-8") as text:
            for document in yaml.safe_load_all(text):
                if document is not None:
                    yield file, document


def errors(version, objects):
    found = []
    for file, document in objects:
        name = f"{file}: {document['kind']} {document['metadata']['name']}"
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.utils.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            found.append(f"Kubernetes {version}: {name}: {path}: {error.message}")
        except kubernetes_validate.utils.SchemaNotFoundError as error:
            found.append(f"Kubernetes {version}: {name}: {error.message}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--custom", action="append", default=[], help="a kind without a schema, passed over")
    args = parser.parse_args()
    objects = list(documents(args.files))
    if not objects:
        sys.exit("the files hold no objects")
    native = [(file, document) for file, document in objects if document["kind"] not in args.custom]
    newest = versions()
    with ProcessPoolExecutor() as pool:
        found = [error for errors_of in pool.map(errors, newest, [native] * len(newest)) for error in errors_of]
    if found:
        sys.exit("\n".join(found))
    print(f"{len(native)} objects of {len(args.files)} files fit Kubernetes {newest[0]} to {newest[-1]}, "
          f"{len(objects) - len(native)} custom ones passed over")


if __name__ == "__main__":
    main()
