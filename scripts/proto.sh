#!/bin/sh
# Regenerates proto/gen from proto/. Its output is committed; `make check` fails if it differs.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
rm -rf proto/gen/kinlink
mkdir -p proto/gen
# shellcheck disable=SC2046 # our own file names hold no blanks
"$python" -m grpc_tools.protoc -I proto \
  --python_out=proto/gen --grpc_python_out=proto/gen --mypy_out=quiet:proto/gen --mypy_grpc_out=quiet:proto/gen \
  $(find proto/kinlink -name '*.proto' | sort)
