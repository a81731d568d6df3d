package demo

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// teapot is what httpbin answers to /status/418, as everybody knows it.
const teapot = `
    -=[ teapot ]=-

       _...._
     .'  _ _ '.
    | ."' ^ '". _,
    \_;'"---"'|//
      |       ;/
      \_     _/
        '"""'
`

// backend answers like httpbin, as far as the demo needs it.
func backend() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.PathValue("code"))
		if err != nil || code < 200 || code > 599 {
			http.Error(w, "the status must be between 200 and 599", http.StatusBadRequest)
			return
		}
		w.WriteHeader(code)
		if code == http.StatusTeapot {
			fmt.Fprint(w, teapot)
		}
	})
	mux.HandleFunc("/delay/{seconds}", func(w http.ResponseWriter, r *http.Request) {
		seconds, err := strconv.ParseFloat(r.PathValue("seconds"), 64)
		if err != nil || seconds < 0 {
			http.Error(w, "the delay must be a number of seconds", http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(time.Duration(min(seconds, 10) * float64(time.Second))):
			echo(w, r)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "Hello version: v1, instance: demo") })
	mux.HandleFunc("/get", echo)
	mux.HandleFunc("/headers", echo)
	return mux
}

// echo shows the request as the backend received it.
func echo(w http.ResponseWriter, r *http.Request) {
	headers := map[string]any{"Host": r.Host}
	for name, values := range r.Header {
		if len(values) == 1 {
			headers[name] = values[0]
		} else {
			headers[name] = values
		}
	}
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(map[string]any{"method": r.Method, "url": r.URL.String(), "headers": headers})
}
