package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Stream copies the answer to a GET of path to w as it comes, however long that takes, and returns the
// answer's trailers. Errors are those of Get; one that comes after the answer has begun says that it is
// not complete.
func (c *Client) Stream(ctx context.Context, path string, w io.Writer) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("admin address %q: %w", c.address, err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	patient := http.Client{Transport: c.http.Transport}
	resp, err := patient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w at %s: %w", ErrUnreachable, c.address, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return nil, fmt.Errorf("read answer of %s: %w", c.address, err)
		}
		return nil, problemOf(resp, b, c.address)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return nil, fmt.Errorf("the answer of %s is not complete: %w", c.address, err)
	}
	return resp.Trailer, nil
}

// problemOf reads an error of ours, or one in the form of Cloudflare's API.
func problemOf(resp *http.Response, body []byte, address string) *Problem {
	p := &Problem{Status: resp.StatusCode}
	var theirs struct {
		Errors []struct {
			Code    uint16
			Message string
		}
	}
	switch {
	case json.Unmarshal(body, &theirs) == nil && len(theirs.Errors) > 0:
		first := theirs.Errors[0]
		p.Code, p.Title = diag.Code(first.Code), first.Message
		if e, ok := diag.Lookup(p.Code); ok {
			p.Fix = e.Fix
		}
	case json.Unmarshal(body, p) == nil && p.Title != "":
	default:
		p.Title = fmt.Sprintf("%s answered %s", address, resp.Status)
		if text := strings.TrimSpace(string(body)); text != "" && len(text) < 200 {
			p.Title += ": " + text
		}
	}
	return p
}
