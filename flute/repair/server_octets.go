package repair

import (
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"
)

// serveOctets answers with the object, or with ranges of its readable prefix.
func (h *Handler) serveOctets(w http.ResponseWriter, r *http.Request, object Object, q query) error {
	info := object.Info()
	if !matches(r.Header.Get("If-Match"), info.ETag) || !q.sameVersion(&info) {
		return errPrecondition
	}
	if notModified(r.Header.Get("If-None-Match"), info.ETag) {
		setHeader(w.Header(), &info)
		w.Header().Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	var specs []rangeSpec
	if value := r.Header.Get("Range"); value != "" && r.Method == http.MethodGet {
		// RFC 9110 section 13.1.5: a Range for another version is ignored.
		if condition := r.Header.Get("If-Range"); condition == "" || condition == info.ETag {
			parsed, ok, err := parseRange(value, orDefault(h.MaxRanges, 256))
			if err != nil {
				return err
			}
			if ok {
				specs = parsed
			}
		}
	}
	ranges := []Range{{0, info.Length}}
	if specs != nil {
		var ready bool
		ranges, ready = resolve(specs, info.Prefix, info.Length)
		if len(ranges) == 0 && ready {
			return errUnsatisfiable{info.Length}
		}
		if len(ranges) == 0 {
			return ErrNotReady
		}
	} else if r.Method == http.MethodGet && (info.Length < 0 || info.Prefix < info.Length) {
		return ErrNotReady
	}

	setHeader(w.Header(), &info)
	switch {
	case r.Method == http.MethodHead:
		if info.Length >= 0 {
			w.Header().Set("Content-Length", strconv.FormatInt(info.Length, 10))
		}
		w.WriteHeader(http.StatusOK)
	case specs == nil:
		w.Header().Set("Content-Length", strconv.FormatInt(info.Length, 10))
		h.copyRange(w, object, ranges[0])
	case len(ranges) == 1:
		w.Header().Set("Content-Length", strconv.FormatInt(ranges[0].Len(), 10))
		w.Header().Set("Content-Range", string(appendContentRange(nil, ranges[0], info.Length)))
		w.WriteHeader(http.StatusPartialContent)
		h.copyRange(w, object, ranges[0])
	default:
		h.writeParts(w, object, &info, ranges)
	}
	return nil
}

func setHeader(header http.Header, info *Info) {
	contentType := info.ContentType
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	header.Set("Content-Type", contentType)
	header.Set("Accept-Ranges", "bytes")
	if info.ETag != "" {
		header.Set("ETag", info.ETag)
	}
	if info.Name != "" {
		header.Set("Content-Location", "/"+escapeName(info.Name))
	}
}

// writeParts answers with multipart/byteranges (RFC 9110 section 14.6).
func (h *Handler) writeParts(w http.ResponseWriter, object Object, info *Info, ranges []Range) {
	contentType := w.Header().Get("Content-Type")
	part := func(r Range) textproto.MIMEHeader {
		return textproto.MIMEHeader{
			"Content-Type":  {contentType},
			"Content-Range": {string(appendContentRange(nil, r, info.Length))},
		}
	}
	// The length is known once the frame around the octets has been counted.
	length := counter(octets(ranges))
	frame := multipart.NewWriter(&length)
	for _, r := range ranges {
		_, _ = frame.CreatePart(part(r))
	}
	_ = frame.Close()

	body := multipart.NewWriter(w)
	_ = body.SetBoundary(frame.Boundary())
	w.Header().Set("Content-Type", "multipart/byteranges; boundary="+body.Boundary())
	w.Header().Set("Content-Length", strconv.FormatInt(int64(length), 10))
	w.WriteHeader(http.StatusPartialContent)
	for _, r := range ranges {
		p, err := body.CreatePart(part(r))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		h.copyRange(p, object, r)
	}
	if err := body.Close(); err != nil {
		panic(http.ErrAbortHandler)
	}
}

type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// copyRange sends octets of object or breaks the connection.
func (h *Handler) copyRange(w io.Writer, object Object, r Range) {
	n, err := io.Copy(w, io.NewSectionReader(object, r.Start, r.Len()))
	h.octets.Add(uint64(n))
	if err != nil || n < r.Len() {
		panic(http.ErrAbortHandler)
	}
}
