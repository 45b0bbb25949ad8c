#!/usr/bin/env bash
# Builds calbus's image, and the simulator's, with the first of docker, podman and buildah that can; `make image`.
# BASE is the image of Python to stand on, TAG the tag; ENGINE names a builder; what is in BUILD_ARGS goes to it;
# TARGETS is what to build: calbus, simulator, or both.
set -euo pipefail
cd "$(dirname "$0")/../.."

BASE=${BASE:-python:3.13-slim}
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)
TAG=${TAG:-$VERSION}

works() {
  case $1 in
    docker) docker info >/dev/null 2>&1 ;;  # without its engine the client alone builds nothing
    *) command -v "$1" >/dev/null ;;
  esac
}

if [ -z "${ENGINE:-}" ]; then
  for ENGINE in docker podman buildah none; do
    if works "$ENGINE"; then break; fi
  done
fi

# OCI's own format knows no health check; docker builds its own format anyway.
FORMAT=(--format docker)
case $ENGINE in
  docker) FORMAT=() ;;
  podman | buildah) ;;
  *)
    echo "Nothing here builds images: install Docker, or Debian's packages podman or buildah." >&2
    exit 1
    ;;
esac

build() {
  # shellcheck disable=SC2086  # BUILD_ARGS is a list of words
  "$ENGINE" build "${FORMAT[@]}" ${BUILD_ARGS:-} --target "$1" --build-arg BASE="$BASE" --build-arg VERSION="$VERSION" \
    --build-arg REVISION="$REVISION" -t "$2:$TAG" -t "$2:latest" .
}

for target in ${TARGETS:-calbus simulator}; do
  case $target in
    calbus) build calbus calbus ;;
    simulator) build simulator calbus-simulator ;;
    *)
      echo "There is no image $target: TARGETS may be calbus, simulator, or both." >&2
      exit 2
      ;;
  esac
done
