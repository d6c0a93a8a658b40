package mbms

import (
	"fmt"

	"github.com/treedn/treedn/flute/bundle"
)

// An Announcement is a service announcement: a bundle whose fragments are
// decoded. They are found by their Content-Location.
type Announcement struct {
	Bundle     bundle.Bundle
	USD        *USD
	Sessions   map[string]*SDP
	Schedules  map[string]*Schedule
	Procedures map[string]*Procedures
	// Problems are the fragments that could not be decoded, and why. The others
	// count nevertheless.
	Problems []error
}

// ParseAnnouncement decodes a service announcement. Without a user service
// description the USD is nil. Of several, their services are put together.
func ParseAnnouncement(b []byte) (*Announcement, error) {
	in, err := bundle.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("mbms: %w", err)
	}
	a := &Announcement{
		Bundle: in, Sessions: map[string]*SDP{}, Schedules: map[string]*Schedule{}, Procedures: map[string]*Procedures{},
	}
	for i := range in.Parts {
		part := &in.Parts[i]
		var err error
		switch bundle.MediaType(part.ContentType) {
		case MediaTypeSDP:
			err = put(a.Sessions, part, ParseSDP)
		case MediaTypeSchedule:
			err = put(a.Schedules, part, ParseSchedule)
		case MediaTypeProcedures:
			err = put(a.Procedures, part, ParseProcedures)
		case MediaTypeUSD:
			var u *USD
			if u, err = ParseUSD(part.Body); err == nil {
				if a.USD == nil {
					a.USD = u
				} else {
					a.USD.Services = append(a.USD.Services, u.Services...)
				}
			}
		}
		if err != nil {
			a.Problems = append(a.Problems, fmt.Errorf("%.128q: %w", part.Location, err))
		}
	}
	return a, nil
}

func put[T any](m map[string]*T, part *bundle.Part, parse func([]byte) (*T, error)) error {
	v, err := parse(part.Body)
	if err == nil {
		m[part.Location] = v
	}
	return err
}
