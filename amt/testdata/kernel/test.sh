#!/bin/sh
# Runs TestKernelRelay and TestKernelGateway against the AMT module of Debian's
# kernel, which build.sh compiles and lab.sh boots in QEMU. Needs root, QEMU and
# what build.sh names; $KAMT_DIR keeps the guest between runs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export KAMT_DIR="${KAMT_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/kernel-amt}" KAMT_NS="${KAMT_NS:-kamt$$}"
ns=$KAMT_NS
mkdir -p "$KAMT_DIR"
trap '"$here/lab.sh" down' EXIT
cd "$here/../.."
go test -c -o "$KAMT_DIR/amt.test" .
for mode in relay gateway; do
	"$here/lab.sh" up $mode
	for i in 21 22; do ip -n $ns addr add 10.11.0.$i/24 dev t0; done
	ip -n $ns addr add 10.12.0.9/24 dev t1
	ip -n $ns addr add fd12::9/64 dev t1 nodad
	AMT_KERNEL=$mode ip netns exec $ns "$KAMT_DIR/amt.test" -test.run '^TestKernel' -test.v -test.timeout 4m
done
