// Package lct encodes and decodes the header of Layered Coding Transport
// (RFC 5651), which starts every packet of ALC, FLUTE and ROUTE.
//
// It holds no state and opens no socket: octets in, a [Header] out, and back.
// It does not look behind the header. The four octets that follow are a FEC
// Payload ID in FLUTE and in ROUTE's repair flows, and a start_offset in
// ROUTE's source flows; nothing in the packet says which, only the session
// description does.
//
//	var h lct.Header // reuse it: Unmarshal allocates nothing
//	n, err := h.Unmarshal(packet)
//	if err != nil {
//		return // not LCT, or damaged: drop the packet
//	}
//	length, known := h.Extensions.TOL()
//	payload := packet[n:]
//
// Supported are all widths of CCI, TSI and TOI, a TOI beyond 64 bits in two
// parts ([Header.TOIHigh]); the extensions EXT_TIME, EXT_FTI, EXT_FDT, EXT_CENC, EXT_TOL
// and EXT_ROUTE_PRESENTATION_TIME; all others, known or not, through
// [Extensions.All] and [Extensions.Find]. The layout of EXT_FTI depends on the
// FEC scheme and is left to package fec, that of EXT_AUTH to whoever verifies
// it. A packet without a TSI is refused, as ALC demands.
//
// Packets are hostile until proved otherwise. Unmarshal checks every length
// before use; the flags A and B, the transfer length and all identifiers are
// claims of the sender.
package lct
