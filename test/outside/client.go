package outside

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Client asks through a proxy and checks what comes.
type Client struct {
	http  *http.Client
	roots *x509.CertPool // of the CA that intercepts; the leaf has to be one of it
}

// patience with one request. Machines that run tests are slow at times.
const patience = 20 * time.Second

// NewClient returns a client of the proxy at addr that trusts roots alone. Without kept, every request has a connection of its own.
func NewClient(addr string, roots *x509.CertPool, kept bool) *Client {
	return &Client{roots: roots, http: &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: !kept, MaxIdleConnsPerHost: 4, MaxIdleConns: 16,
		Proxy:           http.ProxyURL(&url.URL{Scheme: "http", Host: addr}),
		DialContext:     (&net.Dialer{Timeout: patience}).DialContext,
		TLSClientConfig: &tls.Config{RootCAs: roots}, TLSHandshakeTimeout: patience}}}
}

// Close ends its connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Get asks a good destination, and returns what is wrong with the answer.
func (c *Client) Get(host, path string) error {
	resp, err := c.http.Get("https://" + host + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK || string(text) != Text(host, path):
		return fmt.Errorf("%s%s: %s %.200q", host, path, resp.Status, text)
	case !slices.Equal(resp.TLS.PeerCertificates[0].DNSNames, []string{host}):
		return fmt.Errorf("%s: the leaf is for %q", host, resp.TLS.PeerCertificates[0].DNSNames)
	}
	return nil
}

// Status asks any destination and returns the status, 0 with an error.
func (c *Client) Status(ctx context.Context, host string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/", nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// Traffic is well-behaved clients that ask all the time. Safe for concurrent use.
type Traffic struct {
	mu       sync.Mutex // guards what follows
	times    []time.Duration
	failures []string
	asked    int

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Run starts n clients with kept connections and n with a new one for each request, until Stop. Each pauses between
// requests.
func Run(addr string, roots *x509.CertPool, n int, pause time.Duration) *Traffic {
	ctx, cancel := context.WithCancel(context.Background())
	t := &Traffic{cancel: cancel}
	for i := range 2 * n {
		t.wg.Go(func() {
			c := NewClient(addr, roots, i%2 == 0)
			defer c.Close()
			host := fmt.Sprintf("good-%d.test", i)
			for k := 0; ctx.Err() == nil; k++ {
				begin := time.Now()
				err := c.Get(host, fmt.Sprintf("/%d", k))
				t.add(time.Since(begin), err, i%2 == 0)
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	return t
}

func (t *Traffic) add(took time.Duration, err error, kept bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	t.times = append(t.times, took)
	if err != nil && len(t.failures) < 20 {
		t.failures = append(t.failures, fmt.Sprintf("%s, kept connection %t: %v", time.Now().Format("05.000"), kept, err))
	}
}

// Lap is what was seen since the last Lap.
type Lap struct {
	Asked             int
	Median, P90, Most time.Duration
	Failures          []string // the first 20
}

// String tells it for a log.
func (l Lap) String() string {
	return fmt.Sprintf("%d requests, median %v, p90 %v, slowest %v, %d failures", l.Asked, l.Median.Round(100*time.Microsecond), l.P90.Round(100*time.Microsecond), l.Most.Round(time.Millisecond), len(l.Failures))
}

// Lap returns and forgets what was seen.
func (t *Traffic) Lap() Lap {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := Lap{Asked: t.asked, Failures: t.failures}
	slices.Sort(t.times)
	if n := len(t.times); n > 0 {
		l.Median, l.P90, l.Most = t.times[n/2], t.times[n*9/10], t.times[n-1]
	}
	t.times, t.failures, t.asked = nil, nil, 0
	return l
}

// Stop ends the clients and returns the last lap.
func (t *Traffic) Stop() Lap {
	t.cancel()
	t.wg.Wait()
	return t.Lap()
}
