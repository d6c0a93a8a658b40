package dns

import "time"

// Response is a message that answers a question, with what the way that it came by
// adds to it.
type Response struct {
	// Message has passed [Query.Check] and is not truncated.
	Message []byte
	// Trusted: the way to the server is protected, or the user says that it need not
	// be, so that its AD flag can be believed (RFC 6840 section 5.8).
	Trusted bool
	// Age is how long ago the message was made, as HTTP's caches tell (RFC 8484
	// section 5.1).
	Age time.Duration
	// Fresh bounds how long it may be kept, if HasFresh.
	Fresh    time.Duration
	HasFresh bool
}
