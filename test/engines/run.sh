#!/bin/sh
# Starts private, throw-away engines, plays the tests that need them, and ends them. Root on Debian; see start-docker.sh and kubernetes.sh.
#
#   run.sh                     Docker (with its containerd, and a swarm of two) and Kubernetes
#   run.sh docker | containerd | swarm | kubernetes | rancher1 | rancher2 | agent ...    only these; further words and options are vitest's
#
# An engine whose address is in the environment already (DOCKER_HOST, KUBE_URL) is used as it is, and not ended.
set -eu
here=$(dirname "$0")
docker='' kubernetes='' swarm=''
for word in "$@"; do
	case $word in
	docker | containerd | rancher1) docker=wanted ;;
	swarm | agent) docker=wanted swarm=wanted ;;
	kubernetes | rancher2) kubernetes=wanted ;;
	esac
done
[ -n "$docker$kubernetes" ] || docker=wanted kubernetes=wanted swarm=wanted

export ENGINE_DIR=${ENGINE_DIR:-/tmp/drover-engine-test}
cluster=${DROVER_KUBE_DIR:-/var/lib/drover-kubernetes-test}
ours=''
end() {
	[ -z "${half:-}" ] || kill "$half" 2>/dev/null || :
	case $ours in *docker*) sh "$here/start-docker.sh" stop ;; esac
	case $ours in *kubernetes*) bash "$here/kubernetes.sh" clean "$cluster" ;; esac
}
trap end EXIT
trap 'exit 143' TERM INT HUP
if [ -n "$docker" ] && [ -z "${DOCKER_HOST:-}" ]; then
	ours="$ours docker"
	addresses=$(sh "$here/start-docker.sh" start ${swarm:+--worker --cli-image})
	export $addresses
fi
if [ -n "$kubernetes" ] && [ -z "${KUBE_URL:-}" ]; then
	# Returns at once when it is built.
	bash "$here/kubernetes.sh" build
	ours="$ours kubernetes"
	addresses=$(bash "$here/kubernetes.sh" start "$cluster")
	eval "$addresses"
fi
PATH=$here/../../node_modules/.bin:$PATH
if [ $# -gt 0 ]; then
	vitest run --config vitest.engines.config.ts "$@"
	exit
fi
# They mostly wait for their engines, so the two halves go side by side; the second one's report follows the first's.
second=$(mktemp)
vitest run --config vitest.engines.config.ts kubernetes rancher2 >"$second" 2>&1 &
half=$!
rc=0
vitest run --config vitest.engines.config.ts --exclude 'test/engines/kubernetes*' --exclude 'test/engines/rancher2*' || rc=$?
wait $half || rc=$?
cat "$second"
rm -f "$second"
exit $rc
