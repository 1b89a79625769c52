#!/bin/sh
# Writes every lock file: hashed, for all supported Pythons, with no index address in it.
# Versions already locked stay; `UPGRADE=1 make lock` moves them all.
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}

compile() {
  output=$1
  shift
  echo "lock: $output"
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
    ${UPGRADE:+--upgrade} --output-file "$output" "$@"
}

compile requirements.lock pyproject.toml --extra all --extra dev --group build
# Subsets at the same versions: what builds the package, and what each image holds.
compile requirements-build.lock --group build --constraints requirements.lock
for role in registry linker gateway keyserver; do
  compile "services/$role/requirements.lock" pyproject.toml --extra "$role" \
    --constraints requirements.lock
done
# Beside a linker's, where engine = "spark".
compile services/linker/requirements-spark.lock pyproject.toml --extra spark \
  --constraints requirements.lock
# Where photographs become vectors; the test's picture is pinned by hand in tests/face.
compile deploy/local/requirements-face.lock pyproject.toml --extra face \
  --constraints requirements.lock
