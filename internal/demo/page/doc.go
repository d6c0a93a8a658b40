// Package page serves the demonstration's web page: a live picture from a BEACON
// that the reader chooses, and the tree with what each node receives, repairs
// and holds.
//
// The page is hand-written and complete: no framework, no font, no request to
// anything but its own server and the BEACONs. It asks its server for
// api/state every second; [State] is that document.
//
//	handler := page.Handler(func() page.State { return demo.State() })
//	http.Serve(listener, handler)
//
// The player plays HLS media playlists with Media Source Extensions, three
// segments behind the live edge, and leaves the job to the browser where those
// are missing and HLS is native, as on iOS. The query parameter hold changes the
// distance in segments (?hold=2), beacon the BEACON to begin with, quality the
// height of the picture.
//
// The page's texts come from this process, but names and reasons may contain
// what a publisher sent. They are only ever set as text, and the Content
// Security Policy allows scripts from the page's own server only, and
// connections to the BEACONs of the state only.
package page
