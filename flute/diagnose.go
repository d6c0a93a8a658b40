package flute

import (
	"errors"
	"fmt"
	"time"

	"github.com/treedn/treedn/flute/fdt"
)

// Diagnose says in plain words what keeps files from being received, of all that came so far; nothing if all is well. It
// is for people, and its words may change.
func (r *Receiver) Diagnose(now time.Time) (findings []string) {
	say := func(format string, args ...any) { findings = append(findings, fmt.Sprintf(format, args...)) }
	st := r.Stats()
	if st.Packets == 0 {
		say("No packet came: the group may not be joined, the port may be another one, or nothing is sent.")
		return findings
	}
	if n := st.Rejected[RejectSource]; n > 0 {
		say("%d of %d packets came from another source than %v, or under another TSI than those to receive.", n, st.Packets, r.cfg.Source)
	}
	if n := st.Rejected[RejectHeader]; n > 0 {
		say("%d of %d packets are not LCT: something else uses this address and port, or packets are cut off.", n, st.Packets)
	}
	if n := st.Rejected[RejectSession]; n > 0 {
		say("%d packets are of more sessions than the limit of %d.", n, r.cfg.MaxSessions)
	}
	if n := st.Rejected[RejectMemory]; n > 0 {
		say("%d packets found no memory: files in flight, and complete ones not released, exceed %d octets.", n, r.cfg.MaxMemory)
	}
	for _, s := range r.Sessions() {
		for _, f := range s.diagnose(now, &r.cfg) {
			say("TSI %d from %v: %s", s.key.tsi, s.key.source, f)
		}
	}
	return findings
}

func (s *Session) diagnose(now time.Time, cfg *ReceiverConfig) (findings []string) {
	say := func(format string, args ...any) { findings = append(findings, fmt.Sprintf(format, args...)) }
	rej := &s.rejected
	switch {
	case rej[RejectFDT] > 0 && s.instances == 0:
		say("there are packets with TOI 0 and no EXT_FDT of FLUTE 1 or 2: this may be ROUTE.")
	case rej[RejectFTI] > 0 && s.instances == 0:
		say("FDT Instances, or files, come without the FEC information that it takes to read them.")
	case s.instances == 0 && rej[RejectScheme] == 0:
		say("no FDT Instance has come in %d packets and %v, so that files have no names.", s.packets, s.last.Sub(s.first).Round(time.Millisecond))
	case errors.Is(s.badFDT, fdt.ErrExpired) && s.db.Len() == 0:
		say("every FDT Instance had expired when it came (%v): the clock of the sender, or ours, which says %v, is wrong.",
			s.badFDT, now.UTC().Format(time.DateTime))
	case s.badFDT != nil && !s.described:
		say("no FDT Instance could be used; the last one because of %v.", s.badFDT)
	case s.badFDT != nil:
		say("some FDT Instances are at fault; the last one: %v.", s.badFDT)
	case s.described && s.db.Len() == 0:
		say("all FDT Instances have expired, and no new ones come.")
	case s.instances > 0 && !s.described:
		say("the FDT Instances list no files.")
	}
	if n := rej[RejectScheme]; n > 0 {
		say("%d packets have a FEC scheme that is not supported or another one than described; the last one %v.", n, s.scheme)
	}
	if n := rej[RejectTOI]; n > 0 {
		say("%d packets have no TOI, or one beyond 64 bits.", n)
	}
	if s.instances > 0 && rej[RejectFTI] > 0 {
		say("%d packets have an EXT_FTI that is malformed or contradicts what was known.", rej[RejectFTI])
	}
	if n := rej[RejectTooLarge]; n > 0 {
		say("%d packets are of files beyond the limit of %d octets, or of FDT Instances beyond %d.", n, cfg.MaxObject, cfg.MaxInstance)
	}
	if n := rej[RejectRanges]; n > 0 {
		say("%d packets were dropped because their files have too many holes.", n)
	}
	if n := rej[RejectSymbol]; n > 0 {
		say("%d packets have blocks or symbols that their files do not have: FDT and packets disagree.", n)
	}
	if n := rej[RejectConflict]; n > 0 {
		say("%d packets differ from what came before under the same TOI.", n)
	}
	if s.nameless > 0 && s.instances > 0 {
		say("%d objects, at least, were never described by an FDT Instance.", s.nameless)
	}
	if s.lost > 0 {
		say("%d files were lost, beside %d that are complete; the last one because of: %v.", s.lost, s.objects, s.lostReason)
	}
	if s.closed {
		say("the sender has closed the session.")
	}
	return findings
}
