// Package mabr encodes and decodes the session configuration of DVB adaptive
// media streaming over IP multicast (ETSI TS 103 769): which multicast transport
// sessions carry a service, by FLUTE or by ROUTE, and how to repair what gets
// lost.
//
//	c, err := mabr.Parse(document)
//	if err != nil {
//		return err
//	}
//	for _, s := range c.Sessions {
//		for _, t := range s.Transports {
//			fmt.Println(s.ServiceID, t.Protocol(), t.Endpoints[0].Destination, t.Endpoints[0].TSI)
//		}
//	}
//
// A [Configuration] is that of a gateway or of a server. It reaches a gateway by
// HTTP, or in a redirect ([ParseRedirect]), or in band: in a carousel session of its own, as the object named
// [GatewayConfigurationURI], which a first configuration points to.
//
// [Repair] turns the name of a lost object into the URLs where to get it
// (section 9), and [Pattern] finds the session that a request of a player belongs
// to. Reports of gateways (section 11) are not composed here.
//
// Read are the schemas of 2019 and 2024, and what GPAC writes under the year
// 2023, with the spellings that they have in the field. Writing is strict, and
// makes one edition of them. A document is hostile input until proved otherwise:
// it is bounded as package xmllimit says.
package mabr
