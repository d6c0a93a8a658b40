package parent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/treedn/treedn/internal/manifest"
	"github.com/treedn/treedn/internal/service"
)

// NamesPath is where a node lists the manifests of a service to its children, one name a line: NamesPath/<service>. A
// child that has heard nothing by multicast cannot know them.
const NamesPath = "/manifests/v1/"

const (
	maxNames  = 256
	namesTime = 2 * time.Second
)

// Names asks the parents for the names of the manifests of a service.
func (c *Client) Names(ctx context.Context, svc string) (names []string, err error) {
	err = service.ErrNotFound
	for _, u := range c.list() {
		if !u.health.usable(time.Now()) {
			continue
		}
		if names, err = c.names(ctx, u, svc); err == nil && len(names) > 0 {
			return names, nil
		}
	}
	return nil, err
}

func (c *Client) names(ctx context.Context, u *upstream, svc string) ([]string, error) {
	asked := time.Now()
	ctx, cancel := context.WithTimeout(ctx, namesTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, manifest.JoinURL(u.base, NamesPath, svc).String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Via", "1.1 "+c.node)
	c.requests.Add(1)
	resp, err := u.http.Do(req)
	if err != nil {
		if ctx.Err() == nil || context.Cause(ctx) == context.DeadlineExceeded {
			c.fault(u, asked, dead, err)
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("parent: %s answered %s", u.base.Host, resp.Status)
	}
	var names []string
	lines := bufio.NewScanner(io.LimitReader(resp.Body, maxNames*(manifest.MaxName+1)))
	for lines.Scan() && len(names) < maxNames {
		if name := lines.Text(); manifest.ValidName(name) && manifest.IsManifest(name) {
			names = append(names, name)
		}
	}
	return names, lines.Err()
}
