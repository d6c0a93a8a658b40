// Package diagnose says in plain words why a session of ROUTE or FLUTE does not
// play.
//
// It is a pure function over what was received: the signalling, as the packages
// lls, sls, mabr, mbms and fdt decode it, and for each LCT channel what arrived.
// All of it may be missing, which is what the findings are about.
//
//	for _, f := range diagnose.Diagnose(&input) {
//		fmt.Println(f)
//	}
//
// The findings are ordered: first what keeps all of it from playing, then what
// keeps a part of it or some receivers from playing, then what only departs from
// the standard. A fault that explains others is given alone.
//
// The rules have names that stay, so that programs can go by them, and the
// section of the standard that they come from.
package diagnose
