//go:build soak

package soak

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/test/gateway"
)

// Bounds of an authority that has issued certificates for 100,000. They are several times what a machine
// of two cores needs.
const (
	issued       = 100_000
	timedOnDisk  = 500 // issued with a sync of the disk each, which is what the time of one depends on
	issueBound   = 2 * time.Millisecond
	openBound    = 5 * time.Second
	openHeap     = 128 << 20 // bytes
	journalBound = 2 << 10   // bytes a certificate
	revokeBound  = 60 * time.Second
	serveBound   = 30 * time.Second
)

// memoryFolder is a folder in memory, so that a hundred thousand syncs do not measure the disk; on systems
// without one it is an ordinary folder.
func memoryFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hakone-soak-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// issueMany issues n certificates of clients and returns the serial numbers.
func issueMany(t *testing.T, a *ca.Authority, n int) (serials []string, each time.Duration) {
	t.Helper()
	begin := time.Now()
	for i := range n {
		c, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Client, Subject: pkix.Name{CommonName: fmt.Sprintf("client %06d", i), Organization: []string{"Soak"}}})
		if err != nil {
			t.Fatal(err)
		}
		serials = append(serials, c.Entry.Serial)
	}
	return serials, time.Since(begin) / time.Duration(n)
}

func create(t *testing.T, dir, url string) *ca.Authority {
	t.Helper()
	a, _, err := ca.Create(t.Context(), ca.Dir(dir), ca.DefaultName, ca.Setup{Subject: pkix.Name{CommonName: "Soak"}, URL: url}, ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestHundredThousandCertificates issues them, opens their authority again, revokes them all, and has the
// list served by a gateway.
func TestHundredThousandCertificates(t *testing.T) {
	_, onDisk := issueMany(t, create(t, t.TempDir(), ""), timedOnDisk)
	t.Logf("one certificate, with the syncs of this disk: %v", onDisk.Round(time.Microsecond))

	dir, port := memoryFolder(t), freePort(t)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	before := heapBytes()
	a := create(t, dir, "http://"+address)
	serials, each := issueMany(t, a, issued)
	t.Logf("%d certificates, each with a key of its own: %v each, %.1f MB of heap afterwards", issued, each.Round(time.Microsecond), float64(heapBytes()-before)/1e6)
	runtime.KeepAlive(a)
	if each > issueBound {
		t.Errorf("one certificate took %v, more than %v", each, issueBound)
	}
	a = reopen(t, dir)
	revokeAll(t, a, serials)
	g := gateway.Start(t, gateway.Options{Ports: []int{443}, Unready: true, Args: []string{"--wait", "--ca-dir", dir, "--ca-listen", address}})
	serveList(t, g, address)
}

func reopen(t *testing.T, dir string) *ca.Authority {
	t.Helper()
	before, begin := heapBytes(), time.Now()
	a, err := ca.Open(t.Context(), ca.Dir(dir), ca.DefaultName, ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	took, held := time.Since(begin), heapBytes()-before
	info, err := a.Info()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("opened in %v with %.1f MB of heap; the journal has %d lines, %.1f MB", took.Round(time.Millisecond), float64(held)/1e6, info.Journal.Lines, float64(info.Journal.Bytes)/1e6)
	if info.Counts.Issued != issued {
		t.Errorf("%d certificates are known, not %d", info.Counts.Issued, issued)
	}
	if took > openBound || held > openHeap || info.Journal.Bytes > issued*journalBound {
		t.Errorf("opening took %v and %d bytes, the journal has %d bytes", took, held, info.Journal.Bytes)
	}
	begin = time.Now()
	if _, err := a.VerifyJournal(); err != nil {
		t.Error(err)
	}
	t.Logf("journal verified in %v", time.Since(begin).Round(time.Millisecond))
	runtime.KeepAlive(a)
	return a
}

func revokeAll(t *testing.T, a *ca.Authority, serials []string) {
	t.Helper()
	begin := time.Now()
	if _, err := a.Revoke(t.Context(), "superseded", serials...); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	begin = time.Now()
	list, err := a.PublishCRL(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d revoked at once, with a new list, in %v; the next list in %v: %.1f MB", list.Entries, took.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond), float64(len(list.DER))/1e6)
	if list.Entries != issued || took > revokeBound {
		t.Errorf("the list has %d entries, not %d; revoking took %v", list.Entries, issued, took)
	}
}

// serveList fetches the list from a gateway, many times, and looks at its memory.
func serveList(t *testing.T, g *gateway.Gateway, address string) {
	t.Helper()
	begin := time.Now()
	var body []byte
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+filepath.Join(address, "crl", "default.crl"), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			body, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %s", resp.Status)
			}
		}
		cancel()
		if err == nil {
			break
		}
		if time.Since(begin) > serveBound || g.Ended() {
			t.Fatalf("the list is not served: %v\n%s", err, g.Stderr())
		}
		time.Sleep(50 * time.Millisecond)
	}
	first := time.Since(begin)
	list, err := x509.ParseRevocationList(body)
	if err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	const times = 50
	for range times {
		resp, err := http.Get("http://" + address + "/crl/default.crl")
		if err != nil {
			t.Fatal(err)
		}
		again, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(again, body) {
			t.Fatalf("another list: %d bytes, %v", len(again), err)
		}
	}
	t.Logf("a gateway serves the list of %d entries %v after its start, then in %v; %.1f MB resident", len(list.RevokedCertificateEntries), first.Round(time.Millisecond),
		(time.Since(begin) / times).Round(10*time.Microsecond), float64(residentBytes(t, g.PID()))/1e6)
	if len(list.RevokedCertificateEntries) != issued {
		t.Errorf("the list has %d entries", len(list.RevokedCertificateEntries))
	}
}
