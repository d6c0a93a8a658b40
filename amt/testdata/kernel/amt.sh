#!/bin/busybox sh
# Makes the guest's AMT device, "amt", in place of the one before:
#
#   amt none
#   amt relay      up, and all multicast of eth1 is routed to it
#   amt gateway    down; its discovery address is that of the other side
#
# Programs that use the device are listed in /tmp/started and end with it.
export PATH=/bin:/sbin
[ ! -f /tmp/started ] || kill $(cat /tmp/started) 2>/dev/null
rm -f /tmp/started
[ ! -e /sys/class/net/amt ] || /opt/ip link del amt
set -e

case $1 in
relay)
	/opt/ip link add amt type amt mode relay local 10.11.0.2 dev eth0 relay_port 2268 max_tunnels 1000
	/opt/ip addr add 10.13.0.1/24 dev amt
	/opt/ip link set amt up
	for v in 4:ip_mr_vif 6:ip6_mr_vif; do
		# Two programs may not route at a time, and the earlier one ends in its time.
		while grep -q eth1 /proc/net/${v#*:}; do usleep 20000; done
		mc mroute${v%:*} eth1 amt </dev/null >/dev/null 2>&1 &
		echo $! >>/tmp/started
		until grep -q amt /proc/net/${v#*:}; do usleep 20000; done
	done
	# Without a link-local address it cannot send a Query of MLD.
	until /opt/ip -6 addr show dev amt scope link -tentative | grep -q fe80; do usleep 20000; done ;;
gateway)
	/opt/ip link add amt type amt mode gateway local 10.11.0.2 discovery 10.11.0.1 dev eth0 gateway_port 2268 relay_port 2268
	/opt/ip addr add 10.14.0.2/24 dev amt ;;
esac
