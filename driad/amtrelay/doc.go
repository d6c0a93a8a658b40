// Package amtrelay has the AMTRELAY resource record of RFC 8777 and the names under
// which it is found.
//
// [Record] is the record's data: [Record.Unmarshal] and [Record.AppendTo] are its
// wire format, which any DNS library carries as data of type 260, and
// [Record.String] and [Parse] its presentation in zone files, also in the generic
// form of RFC 3597 for servers that do not know the type.
//
// [ReverseName] is where the record of a source is, in the reverse tree;
// [PlainName] is where some publishers have the addresses of relays as plain A and
// AAAA records.
//
// There is no reading or writing of files, and no look-up, here: see package driad.
package amtrelay
