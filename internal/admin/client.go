package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ErrUnreachable says that nothing answers at the admin address.
var ErrUnreachable = errors.New("no running hakone answers")

// ErrAnswer says that what answers is no Hakone, or another version of it.
var ErrAnswer = errors.New("the answer is not understood")

// Client asks a running process. Create it with NewClient.
type Client struct {
	address string
	base    string
	token   string
	http    *http.Client
}

// DefaultAddress returns where "hakone run" listens and commands ask unless told otherwise:
// $HAKONE_ADMIN, else a unix socket in $XDG_RUNTIME_DIR, in /run/hakone for root, or in a folder of
// the user's below the temporary folder.
func DefaultAddress() string {
	if a := os.Getenv("HAKONE_ADMIN"); a != "" {
		return a
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	switch {
	case dir != "":
		dir = filepath.Join(dir, "hakone")
	case os.Geteuid() == 0:
		dir = "/run/hakone"
	default:
		dir = sharedFolder()
	}
	return "unix:" + filepath.Join(dir, "admin.sock")
}

// sharedFolder is this user's folder below the temporary one, where others may be first.
func sharedFolder() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("hakone-%d", os.Geteuid()))
}

// NewClient returns a client for address ("unix:PATH", "HOST:PORT", or an http(s) URL). token may be
// empty; config is for https and may be nil.
func NewClient(address, token string, config *tls.Config) *Client {
	c := &Client{address: address, base: "http://" + address, token: token}
	transport := &http.Transport{TLSClientConfig: config, ResponseHeaderTimeout: 30 * time.Second}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		c.base = "http://hakone"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			if err := checkFolder(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
	} else if strings.Contains(address, "://") {
		c.base = strings.TrimSuffix(address, "/")
	} else if config != nil {
		c.base = "https://" + address
	}
	c.http = &http.Client{Transport: transport, Timeout: time.Minute}
	return c
}

// Address returns what the client was made with.
func (c *Client) Address() string { return c.address }

// Get reads path into v (JSON), or the raw body if v is a *[]byte. Errors wrap ErrUnreachable or are
// a *Problem.
func (c *Client) Get(ctx context.Context, path string, v any) error {
	return c.do(ctx, http.MethodGet, path, nil, v)
}

// Post sends body as JSON to path and reads the answer into v.
func (c *Client) Post(ctx context.Context, path string, body, v any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	return c.do(ctx, http.MethodPost, path, bytes.NewReader(b), v)
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("admin address %q: %w", c.address, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.address, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read answer of %s: %w", c.address, err)
	}
	if raw, ok := v.(*[]byte); ok && resp.StatusCode < 400 {
		*raw = b
		return nil
	}
	if resp.StatusCode >= 400 {
		p := &Problem{Status: resp.StatusCode, Title: strings.TrimSpace(string(b))}
		if json.Unmarshal(b, p) != nil {
			p.Title = fmt.Sprintf("%s answered %s", c.address, resp.Status)
		}
		return p
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrAnswer, c.address, err)
	}
	return nil
}
