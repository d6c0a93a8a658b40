// Package flute is the root of the codecs that FLUTE (RFC 6726) and ROUTE
// (RFC 9223) share. Its parts are packages of their own:
//
//   - flute/lct: the header of every packet (RFC 5651)
//   - flute/fdt: the File Delivery Table, alone or inside an S-TSID
//   - flute/ntp: timestamps without an era
//   - flute/xmllimit: XML from strangers, within bounds
//   - flute/seal: signed prefix digests, so that an object can be believed
//     whatever way it came
//   - flute/repair: file repair by HTTP
//   - flute/push: unicast push of objects by HTTP
//
// All but the last two are pure: octets and, where it matters, the time go in,
// values come out. Sending and receiving objects is package route.
package flute
