package inspect

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// JSON returns a function that writes each event as a line of JSON.
func JSON(w io.Writer) func(Event) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return func(event Event) error { return e.Encode(event) }
}

// A Printer writes events as text for people.
type Printer struct{ W io.Writer }

// clean makes text of a sender harmless on a terminal.
func clean(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		s = strconv.Quote(s)
	}
	return s
}

// Print writes one event.
func (p *Printer) Print(event Event) error {
	var s string
	switch e := event.(type) {
	case *SessionEvent:
		s = fmt.Sprintf("session    %s from %s: %s", netip.AddrPortFrom(e.Dst, e.Port), e.Source, strings.ToUpper(e.Protocol))
	case *ServiceEvent:
		s = "service    " + clean(strings.TrimSpace(e.Channel+" "+e.Name)) + " (" + clean(e.ID) + ", " + e.System + ")"
		if e.Dst.IsValid() {
			s += fmt.Sprintf(": %s to %s", strings.ToUpper(e.Protocol), netip.AddrPortFrom(e.Dst, e.Port))
		}
		if e.Source.IsValid() {
			s += fmt.Sprintf(" from %s", e.Source)
		}
	case *SignallingEvent:
		s = fmt.Sprintf("signalling %s", netip.AddrPortFrom(e.Dst, e.Port))
		if e.TSI != nil {
			s += fmt.Sprintf(" TSI %d TOI %d", *e.TSI, *e.TOI)
		}
		s += " " + clean(e.Kind)
		if e.Name != "" {
			s += " " + clean(e.Name)
		}
		if e.Version != nil {
			s += fmt.Sprintf(" version %d", *e.Version)
		}
		if e.Error != "" {
			s += ": " + clean(e.Error)
		}
	case *ObjectEvent:
		s = objectLine(e)
	case *FindingEvent:
		s = fmt.Sprintf("%-10s ", e.Severity)
		if to := netip.AddrPortFrom(e.Dst, e.Port).String(); e.Dst.IsValid() && !strings.Contains(e.Where, to) {
			s += to + ": "
		}
		s += clean(e.Where) + ": " + clean(e.Text)
		if e.Section != "" {
			s += " (" + e.Section + ")"
		}
	case *SummaryEvent:
		s = "sum        "
		if e.Dst.IsValid() {
			s += fmt.Sprintf("%s from %s: %s, %d channels, %s, ", netip.AddrPortFrom(e.Dst, e.Port), e.Source, strings.TrimSpace(strings.ToUpper(e.Protocol)+" "+e.System), e.Channels, cmp.Or(strings.Join(e.FEC, " and "), "no FEC"))
		}
		s += fmt.Sprintf("%d packets, %s, %d objects", e.Packets, octets(int64(e.Octets)), e.Objects)
		if e.Incomplete > 0 {
			s += fmt.Sprintf(", %d incomplete (%s missing)", e.Incomplete, octets(e.Missing))
		}
		if e.Repair > 0 {
			s += fmt.Sprintf(", %d repair packets recovered %s", e.Repair, octets(e.Recovered))
		}
		if e.Foreign > 0 {
			s += fmt.Sprintf(", %d packets of other protocols", e.Foreign)
		}
	default:
		return nil
	}
	_, err := fmt.Fprintln(p.W, s)
	return err
}

var cutText = map[Cut]string{
	CutBegin: "; it began before the reception",
	CutEnd:   "; it was on its way at the end",
	CutBoth:  "; it began before the reception, and was on its way at the end",
}

func objectLine(e *ObjectEvent) string {
	state := "object    "
	if !e.Complete {
		state = "incomplete"
	}
	s := fmt.Sprintf("%s %s TSI %d TOI %d", state, netip.AddrPortFrom(e.Dst, e.Port), e.TSI, e.TOI)
	if e.FDT != nil {
		s += fmt.Sprintf(" FDT %d", *e.FDT)
	}
	if e.Length != nil {
		s += " " + octets(*e.Length)
	} else {
		s += " of unknown length"
	}
	if e.Location != nil {
		s += " " + clean(*e.Location)
	}
	if e.Recovered > 0 {
		s += fmt.Sprintf(", %s by FEC", octets(e.Recovered))
	}
	if e.Complete {
		return s
	}
	for i, m := range e.Missing {
		switch {
		case i == 0:
			s += "; lacks "
		case i == 8:
			return s + fmt.Sprintf(" and %d other ranges", len(e.Missing)-i) + cutText[e.Cut]
		default:
			s += ", "
		}
		s += fmt.Sprintf("%d-%d", m[0], m[1])
	}
	return s + cutText[e.Cut]
}

// octets returns a number of octets for people.
func octets(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d octets", n)
	case n < 10_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 10_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// Line returns the status in one line, for a terminal.
func (s Status) Line() string {
	line := fmt.Sprintf("%d packets, %s, %d sessions, %d objects", s.Packets, octets(int64(s.Octets)), s.Sessions, s.Objects)
	if s.Open > 0 {
		line += fmt.Sprintf(", %d on their way", s.Open)
	}
	if s.Incomplete > 0 {
		line += fmt.Sprintf(", %d lost", s.Incomplete)
	}
	if s.Missing > 0 {
		line += fmt.Sprintf(", %s missing", octets(s.Missing))
	}
	if s.Repair > 0 {
		line += fmt.Sprintf(", %d repair packets, %s by FEC", s.Repair, octets(s.Recovered))
	}
	if s.Foreign > 0 {
		line += fmt.Sprintf(", %d foreign", s.Foreign)
	}
	return line
}
