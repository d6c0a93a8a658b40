// Package amtr watches the gateways of an AMT relay from outside: of the one in the
// Linux kernel above all, which tells nobody who its gateways are.
//
//	t, err := amtr.Open(amtr.Config{Interface: "eth0"})
//	if err != nil {
//		return err
//	}
//	defer t.Close()
//	return t.Run(ctx, func(e amtr.Event) { log.Println(e) })
//
// A [Tracker] follows the AMT messages on an interface: by programs in the kernel,
// XDP for what comes in and tcx for what goes out, which hand control messages to
// user space and count data where they are; or, where that is not allowed, by a
// packet socket. Events and counters are the same. Both only look.
//
// [Table] is what makes gateways of messages, without sockets or clock.
//
// # What it knows
//
// A tunnel is up from the first Membership Update, and down after a Teardown or
// when there has been no Update for the group membership interval; a gateway that
// sends Requests and never an Update is an attempt. What is in an Update is not
// looked at, so a gateway that has left its last group counts until then. Whoever
// can send to the relay can make the tracker count him: a table of bounded size
// forgets who has been silent the longest.
package amtr
