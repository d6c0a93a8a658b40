#!/bin/bash
# Runs the tests of amt and of amt/xdp/amtr that need a kernel with AMT: in a
# namespace that is linked to a guest, see lab.sh. Needs root, QEMU and what
# build.sh names; $KAMT_DIR keeps the guest between runs. Ends with 66 if what it
# needs cannot be had.
#
# The guest is emulated: what goes wrong for want of a processor does so once. An
# attempt that fails is shown, and made again with a new guest, twice at most.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export KAMT_DIR="${KAMT_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/kernel-amt}" KAMT_NS="${KAMT_NS:-kamt$$}"
mkdir -p "$KAMT_DIR/bin"
trap '"$here/lab.sh" down' EXIT
cd "$here/../.."

"$here/build.sh" >/dev/null || exit $?
# Without C, so that the guest can run it, too.
(CGO_ENABLED=0 go test -c -o "$KAMT_DIR/bin/amt.test" . && cd xdp && CGO_ENABLED=0 go test -c -o "$KAMT_DIR/bin/amtr.test" ./amtr) || exit 1

attempt() {
	"$here/lab.sh" up "$KAMT_DIR/bin/amtr.test" || { echo "the guest does not boot"; return 1; }
	local inside=(env AMT_KERNEL=1 ip netns exec "$KAMT_NS") failed=0
	(cd "$here/../.." && "${inside[@]}" "$KAMT_DIR/bin/amt.test" -test.run '^TestKernel' -test.v -test.timeout 4m) || failed=1
	(cd "$here/../../xdp/amtr" && NETTEST_INSIDE=1 "${inside[@]}" "$KAMT_DIR/bin/amtr.test" -test.run '^TestKernel' -test.v -test.timeout 4m) || failed=1
	if ((failed)); then
		echo "--- the guest's console"
		tail -n 30 "$KAMT_DIR/$KAMT_NS.log"
	fi
	return $failed
}

for i in 1 2 3; do
	echo "=== attempt $i"
	attempt && exit
	echo "=== attempt $i failed, on a machine with a load of $(cut -d ' ' -f 1-3 /proc/loadavg)"
	"$here/lab.sh" down
done
exit 1
