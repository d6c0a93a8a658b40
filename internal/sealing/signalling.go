package sealing

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/manifest"
)

// SignallingPrefix is where a node's server for children gives out the signalling of the sessions that it sends, for
// those who cannot get it by multicast, because somebody else sends there, too:
//
//	GET <base>/signalling/v1/<service>/<name of the S-TSID, see STSIDName>
//
// The answer is the datagram that seals the S-TSID, with its length in front, and the S-TSID. The field Treedn-Generation
// has its generation.
const SignallingPrefix = "/signalling/v1/"

// SignallingType is the media type of the answer.
const SignallingType = "application/vnd.treedn.signalling"

const generationField = "Treedn-Generation"

// maxSignalling bounds an answer, in octets.
const maxSignalling = 1 << 20

// Signalling is an S-TSID and the datagram that seals it.
type Signalling struct {
	Body       []byte
	Generation uint64
	Seal       []byte
}

// SignallingHandler gives signalling to children, see SignallingPrefix.
type SignallingHandler struct {
	// Lookup returns what is announced by a name now.
	Lookup func(service, name string) (Signalling, bool)
}

// ServeHTTP implements http.Handler.
func (h *SignallingHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	svc, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, SignallingPrefix), "/")
	s, ok := h.Lookup(svc, name)
	if !ok {
		http.NotFound(w, r)
		return
	}
	head := w.Header()
	head.Set("Content-Type", SignallingType)
	head.Set("Cache-Control", "no-store")
	head.Set(generationField, strconv.FormatUint(s.Generation, 10))
	_, _ = w.Write(append(seal.AppendFrame(nil, s.Seal), s.Body...))
}

// Signalling asks the parents in turn for what is announced by a name, until take finds one genuine and returns nil.
func (c *Client) Signalling(ctx context.Context, service, name string, take func(Signalling) error) error {
	err := ErrNoSeal
	for _, base := range c.Parents() {
		if err = c.signalling(ctx, base, service, name, take); err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}

func (c *Client) signalling(ctx context.Context, base *url.URL, service, name string, take func(Signalling) error) error {
	ctx, cancel := context.WithTimeout(ctx, newsTime)
	defer cancel()
	resp, err := c.get(ctx, manifest.JoinURL(base, SignallingPrefix, service, name))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	generation, err := strconv.ParseUint(resp.Header.Get(generationField), 10, 64)
	if err != nil || resp.Header.Get("Content-Type") != SignallingType {
		return fmt.Errorf("sealing: %s gave no signalling", base.Host)
	}
	r := bufio.NewReaderSize(io.LimitReader(resp.Body, maxSignalling), 2+seal.MaxDatagram)
	datagram, err := readFrame(r)
	if err != nil {
		return err
	}
	datagram = append([]byte(nil), datagram...)
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return take(Signalling{Body: body, Generation: generation, Seal: datagram})
}
