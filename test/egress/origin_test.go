//go:build e2e

package egress

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMain is also the programs that run in namespaces: destinations, and workloads written in Go.
func TestMain(m *testing.M) {
	if dir := os.Getenv("EGRESS_TEST_ORIGIN"); dir != "" {
		fmt.Fprintln(os.Stderr, serveOrigin(dir))
		os.Exit(1)
	}
	if words := strings.Fields(os.Getenv("EGRESS_TEST_SOCKET")); len(words) > 0 {
		if err := openSocket(words); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	for name, run := range map[string]func([]string) error{"EGRESS_TEST_LOAD": load, "EGRESS_TEST_TALK": talk, "EGRESS_TEST_HOLD": hold} {
		if words := strings.Fields(os.Getenv(name)); len(words) > 0 {
			if err := run(words); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	if url := os.Getenv("EGRESS_TEST_GET"); url != "" {
		if err := get(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// page is what example.com shows.
const page = "<!doctype html><html><head><title>Example Domain</title></head><body>An example.</body></html>\n"

// serveOrigin serves HTTPS with origin.crt and origin.key of a folder, and HTTP, until it fails.
func serveOrigin(dir string) error {
	pair, err := tls.LoadX509KeyPair(dir+"/origin.crt", dir+"/origin.key")
	if err != nil {
		return err
	}
	fail := make(chan error)
	secure := &http.Server{Addr: ":443", Handler: originHandler(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, ReadHeaderTimeout: time.Minute}
	plain := &http.Server{Addr: ":80", Handler: originHandler(), ReadHeaderTimeout: time.Minute}
	go func() { fail <- secure.ListenAndServeTLS("", "") }()
	go func() { fail <- plain.ListenAndServe() }()
	return <-fail
}

func originHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=UTF-8")
		h.Set("Last-Modified", "Thu, 17 Oct 2019 07:18:26 GMT")
		h.Set("Etag", `"3147526947"`)
		h.Set("Cache-Control", "max-age=604800")
		fmt.Fprint(w, page)
	})
	mux.HandleFunc("/seen", func(w http.ResponseWriter, r *http.Request) { // what arrived
		w.Header().Set("Cache-Control", "no-store")
		secure := "plain"
		if r.TLS != nil {
			secure = tls.VersionName(r.TLS.Version) + " " + r.TLS.ServerName
		}
		fmt.Fprintf(w, "%s %s %s host=%s %s\n", r.Method, r.URL, r.Proto, r.Host, secure)
		for _, name := range []string{"Via", "X-Forwarded-For", "Proxy-Authorization", "X-Request-Id", "X-Forwarded-Proto", "Proxy-Connection"} {
			fmt.Fprintf(w, "%s=%q\n", name, r.Header[name])
		}
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Location", "https://"+r.Host+"/seen")
		h.Add("Set-Cookie", "a=1; Secure; Path=/")
		if r.URL.RawQuery != "unpinned" {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		w.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("/big", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Length", strconv.Itoa(n))
		_, _ = io.CopyN(w, zeroes{}, int64(n))
	})
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d bytes\n", n)
	})
	mux.HandleFunc("/status", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		w.WriteHeader(n)
	})
	mux.HandleFunc("/ws", echoSocket)
	mux.HandleFunc("/chat", chat)
	return mux
}

// echoSocket switches protocols and gives back what comes, byte for byte.
func echoSocket(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", acceptKey(r.Header.Get("Sec-WebSocket-Key")))
	_, _ = io.Copy(conn, bufio.NewReader(rw))
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
