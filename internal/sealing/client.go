package sealing

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/treedn/treedn/flute/seal"
)

// PathPrefix is where a node's server for children gives out seals:
//
//	GET <base>/seal/v1/<service>                       the newest ones of the service
//	GET <base>/seal/v1/<service>/<name>?generation=N   those of an object, for as long as it grows
//
// The answer is a sequence of datagrams, each with its length in front (seal.AppendFrame).
const PathPrefix = "/seal/v1/"

// MediaType is that of the answer.
const MediaType = "application/vnd.treedn.seals"

// ErrNoSeal is returned when no parent has a seal of the object.
var ErrNoSeal = errors.New("sealing: no parent has a seal")

// Client asks the parents of a node for seals. It is safe for concurrent use.
type Client struct {
	HTTP *http.Client
	// Parents returns the base URLs, in the order in which they are asked.
	Parents func() []*url.URL
}

// Seals hands to push the seals that the first parent has which has any: of a generation of an object, until it has
// ended, or the newest ones of the service if name is empty.
func (c *Client) Seals(ctx context.Context, service, name string, generation uint64, push func(datagram []byte)) error {
	last := ErrNoSeal
	for _, base := range c.Parents() {
		n, err := c.from(ctx, base, service, name, generation, push)
		switch {
		case n > 0 && err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !errors.Is(err, ErrNoSeal):
			last = err
		}
	}
	return last
}

func (c *Client) from(ctx context.Context, base *url.URL, service, name string, generation uint64, push func([]byte)) (n int, err error) {
	u := base.JoinPath(PathPrefix, service, name)
	if name != "" {
		u.RawQuery = "generation=" + strconv.FormatUint(generation, 10)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return 0, ErrNoSeal
	case resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != MediaType:
		return 0, fmt.Errorf("sealing: %s answered %s", base.Host, resp.Status)
	}
	r := bufio.NewReaderSize(resp.Body, 2+seal.MaxDatagram)
	for {
		b, err := readFrame(r)
		switch {
		case err == io.EOF:
			return n, nil
		case err != nil:
			return n, err
		}
		push(b)
		n++
	}
}

// readFrame reads the next datagram, which is valid until the next call. At the end it returns io.EOF.
func readFrame(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(2)
	if err != nil {
		if len(head) == 1 && err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	size := 2 + int(binary.BigEndian.Uint16(head))
	if size > r.Size() {
		return nil, seal.ErrLong
	}
	frame, err := r.Peek(size)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	_, _ = r.Discard(size)
	b, _, err := seal.Frame(frame)
	return b, err
}
