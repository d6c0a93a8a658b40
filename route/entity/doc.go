// Package entity reads and writes the delivery objects of ROUTE that carry their own metadata (RFC 9223, section 4.2 to
// 4.4): those of Entity Mode, which are an HTTP/1.1 message without its start line, and signed packages.
//
// The header of an entity is known once its blank line has come, and the body can be read while the object grows:
//
//	h, n, err := entity.ParseHeader(octets) // io.ErrUnexpectedEOF: more octets are needed
//	d := h.Decoder()
//	for octets = octets[n:]; len(octets) > 0; octets = octets[n:] {
//		data, n, err = d.Next(octets) // data is of the body, n octets were taken
//	}
//	d.Done() // the end was among them
//
// The octets come from anybody: header, trailer and the lines between chunks have bounds, and a message that says two
// things about its length is refused where they matter. Fields are hostile strings.
//
// Signatures are for others to check: [ParseSigned] finds what was signed and the signature, and knows nothing of CMS.
package entity
