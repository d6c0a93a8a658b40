package repair

import (
	"fmt"
	"net/http"
	"strconv"
)

// flushAt is how much of an answer is gathered before it is written.
const flushAt = 64 << 10

// serveSymbols answers with encoding symbols. All that can be refused is found
// out before the first octet is written.
func (h *Handler) serveSymbols(w http.ResponseWriter, r *http.Request, object Object, blocks []BlockSymbols) error {
	source, ok := object.(SymbolSource)
	if !ok {
		return ErrNoSymbols
	}
	info := object.Info()
	if !matches(r.Header.Get("If-Match"), info.ETag) {
		return errPrecondition
	}
	runs, symbols, err := h.plan(source, blocks)
	if err != nil {
		return err
	}
	oti := source.OTI()
	size := oti.SymbolSize()

	// The first symbol is the one that may have to set an encoder up.
	buffer := make([]byte, 0, min(flushAt, symbols*(symbolHeader+size))+symbolHeader+size)
	buffer, err = appendFrom(source, buffer, runs[0].sbn, runs[0].esis.First, size)
	if err != nil {
		return err
	}

	header := w.Header()
	setHeader(header, &info)
	header.Set("Content-Type", SymbolsType)
	header.Del("Accept-Ranges")
	header.Set(OTIHeader, oti.String())
	header.Set("Content-Length", strconv.Itoa(symbols*(symbolHeader+size)))
	if fresh(blocks) {
		header.Set("Cache-Control", "no-store") // the next client needs other symbols
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	first := true
	for _, run := range runs {
		for esi := run.esis.First; esi <= run.esis.Last; esi++ {
			if first {
				first = false
				continue
			}
			if buffer, err = appendFrom(source, buffer, run.sbn, esi, size); err != nil {
				panic(http.ErrAbortHandler)
			}
			if len(buffer) >= flushAt {
				if _, err := w.Write(buffer); err != nil {
					panic(http.ErrAbortHandler)
				}
				buffer = buffer[:0]
			}
		}
	}
	if _, err := w.Write(buffer); err != nil {
		panic(http.ErrAbortHandler)
	}
	h.symbols.Add(uint64(symbols))
	return nil
}

// symbolRun is a run of symbols of one block.
type symbolRun struct {
	sbn  uint8
	esis ESIRange
}

// plan makes runs of explicit symbols of what was asked for.
func (h *Handler) plan(source SymbolSource, blocks []BlockSymbols) (runs []symbolRun, symbols int, err error) {
	limit := orDefault(h.MaxSymbols, 4096)
	for _, b := range blocks {
		k, err := source.SourceSymbols(b.SBN)
		if err != nil {
			return nil, 0, fmt.Errorf("repair: block %d: %w", b.SBN, err)
		}
		switch {
		case len(b.ESIs) > 0:
			for _, esis := range b.ESIs {
				runs = append(runs, symbolRun{b.SBN, esis})
			}
			symbols += b.asked()
		case b.Count > 0:
			first, err := source.FreshESI(b.SBN, b.Count)
			if err != nil {
				return nil, 0, fmt.Errorf("repair: block %d: %w", b.SBN, err)
			}
			if first > maxESI || b.Count > maxESI+1-int(first) {
				return nil, 0, fmt.Errorf("repair: %w: block %d has no fresh symbols left", ErrLimit, b.SBN)
			}
			runs = append(runs, symbolRun{b.SBN, ESIRange{first, first + uint32(b.Count) - 1}})
			symbols += b.Count
		case k > 0:
			runs = append(runs, symbolRun{b.SBN, ESIRange{0, uint32(k) - 1}})
			symbols += k
		}
		if symbols > limit {
			return nil, 0, fmt.Errorf("repair: %w: more than %d symbols", ErrLimit, limit)
		}
	}
	if symbols == 0 {
		return nil, 0, ErrNoSymbols
	}
	return runs, symbols, nil
}

func fresh(blocks []BlockSymbols) bool {
	for _, b := range blocks {
		if b.Count > 0 {
			return true
		}
	}
	return false
}

// appendFrom appends a symbol in its wire form.
func appendFrom(source SymbolSource, dst []byte, sbn uint8, esi uint32, size int) ([]byte, error) {
	start := len(dst)
	dst = append(dst, sbn, byte(esi>>16), byte(esi>>8), byte(esi), byte(size>>8), byte(size))
	dst, err := source.AppendSymbol(dst, sbn, esi)
	if err != nil {
		return dst[:start], fmt.Errorf("repair: block %d symbol %d: %w", sbn, esi, err)
	}
	if len(dst)-start != symbolHeader+size {
		return dst[:start], fmt.Errorf("repair: block %d symbol %d has %d octets", sbn, esi, len(dst)-start-symbolHeader)
	}
	return dst, nil
}
