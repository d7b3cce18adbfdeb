#!/bin/sh
# Starts a private, throw-away Docker Engine, plays the tests that need one, and ends it. Root on Debian; see start-docker.sh.
set -eu
here=$(dirname "$0")
export ENGINE_DIR=${ENGINE_DIR:-/tmp/drover-engine-test}
trap 'sh "$here/start-docker.sh" stop' EXIT
addresses=$(sh "$here/start-docker.sh" start)
export $addresses
npx vitest run --config vitest.engines.config.ts "$@"
