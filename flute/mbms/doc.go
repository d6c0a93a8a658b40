// Package mbms encodes and decodes what announces files and streams that come by
// FLUTE in 3GPP broadcast: the download delivery method of MBMS (TS 26.346), which
// 5G broadcast keeps.
//
// An [Announcement] is a bundle of fragments: a user service description ([USD])
// names the services, and for each delivery a session description ([SDP]), a
// [Schedule], and the associated procedures ([Procedures]) by which lost octets are
// repaired and reception is reported.
//
//	a, err := mbms.ParseAnnouncement(object)
//	if err != nil {
//		return err
//	}
//	for _, s := range a.USD.Services {
//		for _, d := range s.Delivery {
//			sdp := a.Sessions[d.SessionURI]
//			for _, c := range sdp.Channels() {
//				fmt.Println(s.ID, c.Source, c.Destination, sdp.TSI)
//			}
//		}
//	}
//
// A [Report] is a reception report, composed as TS 26.346, 9.4 and 9.5 say.
//
// Reading is lenient about namespaces, line ends and the place of attributes,
// writing is strict. Elements of streaming, of MooD and of key management are
// skipped. All input is hostile until proved otherwise, and bounded.
package mbms
