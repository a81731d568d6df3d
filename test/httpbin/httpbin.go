// Package httpbin is a workload for end-to-end tests that answers as httpbin and the helloworld sample
// do, as far as the tests ask: /status/N, /delay/MILLISECONDS, /hello, /bytes/N; any other path echoes.
package httpbin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"
)

// Teapot is in the body of /status/418.
const Teapot = "-=[ teapot ]=-"

// Start serves on loopback until the test ends and returns the address.
func Start(tb testing.TB) (addr string) {
	tb.Helper()
	srv := httptest.NewServer(Handler())
	tb.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// Handler returns the workload.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code := number(w, r, "code")
		if code == 0 {
			return
		}
		w.WriteHeader(code)
		if code == http.StatusTeapot {
			fmt.Fprintf(w, "\n    %s\n\n       _...._\n     .'  _ _ '.\n    | .\"` ^ `\". _,\n    \\_;`\"---\"`|//\n      |       ;/\n      \\_     _/\n        `\"\"\"`\n", Teapot)
		}
	})
	mux.HandleFunc("/delay/{ms}", func(w http.ResponseWriter, r *http.Request) {
		ms := number(w, r, "ms")
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
			fmt.Fprintln(w, "late")
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "Hello version: v1, instance: helloworld-v1")
	})
	mux.HandleFunc("/bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 32<<10)
		for n := number(w, r, "n"); n > 0; n -= len(block) {
			if _, err := w.Write(block[:min(n, len(block))]); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/", echo)
	return mux
}

func number(w http.ResponseWriter, r *http.Request, name string) int {
	n, err := strconv.Atoi(r.PathValue(name))
	if err != nil || n <= 0 {
		http.Error(w, "no number", http.StatusBadRequest)
		return 0
	}
	return n
}

// Echo is the answer to any other path: the request as it was received.
type Echo struct {
	Method  string
	URL     string
	Host    string
	Headers http.Header
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Echo{r.Method, r.RequestURI, r.Host, r.Header})
}
