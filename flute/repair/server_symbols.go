package repair

import (
	"fmt"
	"net/http"
	"strconv"
)

// flushAt is how much of an answer is gathered before it is written.
const flushAt = 64 << 10

// serveSymbols answers with encoding symbols, in our own form or, for file repair of MBMS, in a container. All that can be
// refused is found out before the first octet is written.
func (h *Handler) serveSymbols(w http.ResponseWriter, r *http.Request, object Object, q query) error {
	source, ok := object.(SymbolSource)
	if !ok {
		return ErrNoSymbols
	}
	scheme := source.Scheme()
	rateless, _ := object.(RatelessSource)
	if scheme.esiBits() == 0 || scheme.SymbolSize < 1 || q.form == ownForm && rateless == nil {
		return ErrNoSymbols
	}
	info := object.Info()
	if !matches(r.Header.Get("If-Match"), info.ETag) || !q.sameVersion(&info) {
		return errPrecondition
	}
	a := symbolAnswer{source: source, scheme: scheme, form: q.form, head: r.Method == http.MethodHead}
	if err := a.plan(rateless, q.blocks, orDefault(h.MaxSymbols, 4096)); err != nil {
		return err
	}
	if !a.head {
		// The first symbol is the one that may have to set an encoder up.
		if err := a.next(); err != nil {
			return err
		}
	}

	header := w.Header()
	setHeader(header, &info)
	header.Del("Accept-Ranges")
	header.Set("Content-Type", SymbolsType)
	if q.form == ownForm {
		header.Set(OTIHeader, rateless.OTI().String())
	} else {
		header.Set("Content-Type", ContainerType)
	}
	header.Set("Content-Length", strconv.Itoa(a.length()))
	if fresh(q.blocks) {
		header.Set("Cache-Control", "no-store") // the next client needs other symbols
	}
	if a.head {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	for len(a.runs) > 0 {
		if err := a.next(); err != nil {
			panic(http.ErrAbortHandler)
		}
		if len(a.buffer) >= flushAt || len(a.runs) == 0 {
			if _, err := w.Write(a.buffer); err != nil {
				panic(http.ErrAbortHandler)
			}
			a.buffer = a.buffer[:0]
		}
	}
	if _, err := w.Write(a.buffer); err != nil {
		panic(http.ErrAbortHandler)
	}
	h.symbols.Add(uint64(a.symbols))
	return nil
}

// form is how symbols are packed in an answer.
type form int

const (
	ownForm       form = iota // SymbolsType
	containerForm             // ContainerType
)

// symbolRun is a run of symbols of one block.
type symbolRun struct {
	sbn  uint16
	esis ESIRange
}

// symbolAnswer makes the body of an answer.
type symbolAnswer struct {
	source  SymbolSource
	scheme  Scheme
	form    form
	head    bool        // it is only to be known how large it would be
	symbols int         // in all
	groups  int         // in all
	runs    []symbolRun // to come
	inside  bool        // the first of runs has begun
	buffer  []byte
}

// length returns the length of the body in octets.
func (a *symbolAnswer) length() int {
	if a.form == ownForm {
		return a.symbols * (symbolHeader + a.scheme.SymbolSize)
	}
	return a.groups*groupHeader + a.symbols*a.scheme.SymbolSize
}

// plan makes runs of explicit symbols of what was asked for.
func (a *symbolAnswer) plan(rateless RatelessSource, blocks []BlockSymbols, limit int) error {
	maxESI := uint32(1)<<a.scheme.esiBits() - 1
	for _, b := range blocks {
		k, err := a.source.SourceSymbols(b.SBN)
		if err != nil {
			return fmt.Errorf("repair: block %d: %w", b.SBN, err)
		}
		last := maxESI
		if a.scheme.EncodingID == CompactNoCode {
			last = uint32(k) - 1 // there are no others
		}
		switch {
		case len(b.ESIs) > 0:
			for _, esis := range b.ESIs {
				if esis.Last > last {
					return fmt.Errorf("repair: %w: block %d has no symbol %d", ErrRequest, b.SBN, esis.Last)
				}
				a.add(b.SBN, esis)
			}
		case b.Count > 0:
			if rateless == nil {
				return ErrNoSymbols
			}
			var first uint32
			if !a.head { // which must not use symbols up
				if first, err = rateless.FreshESI(b.SBN, b.Count); err != nil {
					return fmt.Errorf("repair: block %d: %w", b.SBN, err)
				}
			}
			if first > maxESI || uint32(b.Count) > maxESI+1-first {
				return fmt.Errorf("repair: %w: block %d has no fresh symbols left", ErrLimit, b.SBN)
			}
			a.add(b.SBN, ESIRange{first, first + uint32(b.Count) - 1})
		case k > 0:
			a.add(b.SBN, ESIRange{0, uint32(k) - 1})
		}
		if a.symbols > limit {
			return fmt.Errorf("repair: %w: more than %d symbols", ErrLimit, limit)
		}
	}
	if a.symbols == 0 {
		return ErrNoSymbols
	}
	return nil
}

// add adds a run, or several if a group of a container cannot hold it.
func (a *symbolAnswer) add(sbn uint16, esis ESIRange) {
	a.symbols += esis.Len()
	for ; esis.Len() > maxGroup; esis.First += maxGroup {
		a.runs = append(a.runs, symbolRun{sbn, ESIRange{esis.First, esis.First + maxGroup - 1}})
		a.groups++
	}
	a.runs = append(a.runs, symbolRun{sbn, esis})
	a.groups++
}

// next appends one symbol with what stands before it.
func (a *symbolAnswer) next() error {
	run := &a.runs[0]
	sbn, esi, size := run.sbn, run.esis.First, a.scheme.SymbolSize
	switch {
	case a.form == ownForm:
		a.buffer = append(a.buffer, byte(sbn), byte(esi>>16), byte(esi>>8), byte(esi), byte(size>>8), byte(size))
	case !a.inside:
		a.buffer = appendGroupHeader(a.buffer, a.scheme, sbn, esi, run.esis.Len())
	}
	start := len(a.buffer)
	var err error
	if a.buffer, err = a.source.AppendSymbol(a.buffer, sbn, esi); err != nil {
		return fmt.Errorf("repair: block %d symbol %d: %w", sbn, esi, err)
	}
	if n := len(a.buffer) - start; n != size {
		return fmt.Errorf("repair: block %d symbol %d has %d octets", sbn, esi, n)
	}
	if a.inside = esi < run.esis.Last; a.inside {
		run.esis.First++
	} else {
		a.runs = a.runs[1:]
	}
	return nil
}

func fresh(blocks []BlockSymbols) bool {
	for _, b := range blocks {
		if b.Count > 0 {
			return true
		}
	}
	return false
}
