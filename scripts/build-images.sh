#!/bin/sh
# Builds the images kinlink-{registry,linker,gateway,keyserver} with buildah, for this machine's store.
# BASE_IMAGE names a Debian base to start from; without it one is made by debootstrap, so no image
# registry is needed. TAG defaults to the version in pyproject.toml. Needs root, buildah, debootstrap.
set -eu
cd "$(dirname "$0")/.."

fail() {
  printf 'build-images: %s\n' "$*" >&2
  exit 1
}

for tool in buildah debootstrap; do
  command -v $tool >/dev/null 2>&1 || fail "$tool is missing: scripts/apt-extras buildah debootstrap"
done
[ "$(id -u)" = 0 ] || fail "needs root, for debootstrap and the builder's chroot"

tag=${TAG:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
suite=${SUITE:-bookworm}
authorities=/etc/ssl/certs/ca-certificates.crt

make_base() {
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  echo "build-images: Debian $suite by debootstrap" >&2
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$folder" >&2
  rm -rf "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/*
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$folder" / >&2
  buildah commit --quiet --rm "$container" kinlink-base:"$suite" >&2
}

if [ -z "${BASE_IMAGE:-}" ]; then
  BASE_IMAGE=localhost/kinlink-base:$suite
  buildah inspect "$BASE_IMAGE" >/dev/null 2>&1 || make_base
fi

for role in ${ROLES:-registry linker gateway keyserver}; do
  echo "build-images: kinlink-$role:$tag" >&2
  # The builder trusts the authorities this machine trusts; the mount leaves no trace in the image.
  buildah build --isolation chroot --layers --pull=never \
    --build-arg BASE_IMAGE="$BASE_IMAGE" \
    --volume "$authorities:$authorities:ro" \
    --file "services/$role/Dockerfile" --tag "kinlink-$role:$tag" .
done
