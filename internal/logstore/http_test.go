package logstore

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// served answers Logpull's paths from a store, as the admin API does.
func served(t *testing.T, s *Store) string {
	t.Helper()
	h := NewHandler(s)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathReceived, h.Received)
	mux.HandleFunc("GET "+PathFields, h.Fields)
	mux.HandleFunc("GET "+PathRay, h.Ray)
	srv := httptest.NewUnstartedServer(mux)
	srv.Config.ReadTimeout = 300 * time.Millisecond // what is followed lasts longer
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL
}

func get(t *testing.T, url string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(header) == 2 {
		req.Header.Set(header[0], header[1])
	}
	resp, err := (&http.Transport{DisableCompression: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func TestLogpullOverHTTP(t *testing.T) {
	s, _ := running(t, Options{})
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for i, host := range []string{"shop.example", "www.shop.example:8443", "notshop.example", "Shop.Example."} {
		a := request(fmt.Sprint("ray-", i), at.Add(time.Duration(i)*time.Second))
		a.Authority = []byte(host)
		s.Access(a)
	}
	base := served(t, s)
	rays := func(body string) string {
		var out []string
		for line := range strings.Lines(body) {
			var m struct{ RayID string }
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatalf("%v: %q", err, line)
			}
			out = append(out, strings.TrimPrefix(m.RayID, "ray-"))
		}
		return strings.Join(out, " ")
	}
	const span = "start=1767366245&end=1767366250"
	for _, c := range []struct{ path, want string }{
		{"/zones/all/logs/received?" + span, "0 1 2 3"},
		{"/zones/shop.example/logs/received?" + span, "0 1 3"},
		{"/zones/SHOP.example./logs/received?" + span, "0 1 3"},
		{"/zones/www.shop.example/logs/received?" + span, "1"},
		{"/zones/example/logs/received?" + span, "0 1 2 3"},
		{"/zones/all/logs/received?" + span + "&host=*.shop.example", "1"},
		{"/zones/all/logs/received?" + span + "&host=shop.example", "0 3"},
		{"/zones/all/logs/received?" + span + "&count=2", "0 1"},
		{"/zones/all/logs/received?start=1767366246000000000&end=1767366248000000000", "1 2"},
		{"/zones/all/logs/received?start=2026-01-03T00:04:06%2B09:00&end=2026-01-02T15:04:07Z", "1"},
		{"/zones/all/logs/received?start=2026-01-03T00:04:06+09:00&end=2026-01-02T15:04:07Z", "1"}, // nobody escapes the plus
		{"/zones/all/logs/rayids/ray-2", "2"},
		{"/zones/shop.example/logs/rayids/ray-1?timestamps=rfc3339", "1"},
	} {
		code, header, body := get(t, base+c.path)
		if code != 200 || rays(body) != c.want || header.Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("%s: %d %s, want %s", c.path, code, body, c.want)
		}
	}
	_, header, body := get(t, base+"/zones/all/logs/received?"+span, "Accept-Encoding", "br, gzip;q=0.5")
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil || header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v, %v", err, header)
	}
	plain, err := io.ReadAll(z)
	if err != nil || rays(string(plain)) != "0 1 2 3" {
		t.Errorf("gzip: %v, %s", err, plain)
	}
	if _, header, _ := get(t, base+"/zones/all/logs/received?"+span, "Accept-Encoding", "gzip;q=0"); header.Get("Content-Encoding") != "" {
		t.Error("gzip for one who does not want it")
	}
	var names map[string]string
	if code, _, body := get(t, base+"/zones/all/logs/received/fields"); code != 200 || json.Unmarshal([]byte(body), &names) != nil || len(names) != len(Fields()) || names["RayID"] == "" {
		t.Errorf("fields: %d, %s", code, body)
	}
}

func TestErrorsHaveTheirEnvelope(t *testing.T) {
	s, _ := running(t, Options{})
	base, off := served(t, s), served(t, nil)
	for _, c := range []struct {
		url    string
		status int
		code   int
	}{
		{base + "/zones/all/logs/received?start=yesterday", 400, 6014},
		{base + "/zones/all/logs/received?start=now&end=10m", 400, 6014},
		{base + "/zones/all/logs/received?count=-2", 400, 6014},
		{base + "/zones/all/logs/received?sample=0", 400, 6014},
		{base + "/zones/all/logs/received?sample=NaN", 400, 6014},
		{base + "/zones/all/logs/received?timestamps=iso", 400, 6014},
		{base + "/zones/all/logs/received?status=999x", 400, 6014},
		{base + "/zones/all/logs/received?code=HK0000", 400, 6014},
		{base + "/zones/all/logs/received?kind=both", 400, 6014},
		{base + "/zones/all/logs/received?follow=yes", 400, 6014},
		{base + "/zones/all/logs/received?follow=true&end=now", 400, 6014},
		{base + "/zones/all/logs/received?strat=1", 400, 6014},
		{base + "/zones/all/logs/received?count=1&count=2", 400, 6014},
		{base + "/zones/all/logs/received?fields=RayId,Nope", 400, 6015},
		{base + "/zones/023e105f4ecef8ad9ca31a8372d0c353/logs/received", 400, 6014},
		{base + "/zones/all/logs/rayids/none", 404, 6016},
		{off + "/zones/all/logs/received", 404, 6013},
		{off + "/zones/all/logs/rayids/x", 404, 6013},
	} {
		code, _, body := get(t, c.url)
		var e struct {
			Success *bool
			Errors  []struct {
				Code    int
				Message string
			}
			Messages []string
			Result   any
		}
		if err := json.Unmarshal([]byte(body), &e); err != nil || code != c.status || e.Success == nil || *e.Success || len(e.Errors) != 1 || e.Errors[0].Code != c.code ||
			e.Errors[0].Message == "" || e.Messages == nil {
			t.Errorf("%s: %d %s, want %d with %d", c.url, code, body, c.status, c.code)
		}
	}
}

// TestFollow reads what comes, over a connection that lasts longer than requests may, and ends with its
// client.
func TestFollow(t *testing.T) {
	s, _ := running(t, Options{Every: 10 * time.Millisecond})
	base := served(t, s)
	s.Access(request("before", time.Now().Add(-time.Minute)))
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", base+"/zones/all/logs/received?follow=true&start=2m&fields=RayID", nil)
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	want := func(id string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != `{"RayID":"`+id+`"}` {
			t.Fatalf("%q, %v; want %s", lines.Text(), lines.Err(), id)
		}
	}
	want("before")
	for i := range 5 {
		id := fmt.Sprint("live-", i)
		s.Access(request(id, time.Now()))
		want(id)
		time.Sleep(100 * time.Millisecond) // five of these are longer than the server's ReadTimeout
	}
	cancel()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		n := len(s.followers)
		s.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the follower outlives its client")
		}
	}
}

// TestFollowFolder follows files to which a store writes, through compaction.
func TestFollowFolder(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, Options{Dir: dir, Every: 5 * time.Millisecond})
	s.Access(request("id-0", time.Now()))
	flush(t, s)
	folder, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	q, err := ParseQuery(map[string][]string{"follow": {"true"}, "start": {"1h"}, "fields": {"RayID"}, "count": {"21"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := q.Write(t.Context(), folder, w, nil)
		w.Close()
		done <- err
	}()
	lines := bufio.NewScanner(r)
	for i := range 21 {
		if !lines.Scan() || lines.Text() != fmt.Sprintf(`{"RayID":"id-%d"}`, i) {
			t.Fatalf("line %d is %q", i, lines.Text())
		}
		if i%10 == 0 && i < 20 {
			for k := range 10 {
				s.Access(request(fmt.Sprintf("id-%d", i+k+1), time.Now().Add(time.Duration(k)*time.Microsecond)))
				flush(t, s)
			}
			if i == 10 {
				stop() // which compacts
			}
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestLaggingFollower reads nothing: it is told, and holds up nobody.
func TestLaggingFollower(t *testing.T) {
	s, _ := running(t, Options{})
	_, f, err := s.follow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.unfollow(f)
	for range followBound + 2 {
		s.Access(request("x", time.Now()))
		flush(t, s)
	}
	for {
		b, err := f.next(t.Context())
		if b != nil {
			continue
		}
		if !errors.Is(err, ErrLagging) {
			t.Errorf("%v", err)
		}
		return
	}
}

// TestSampleIsRepeatable gives the same requests again, and about as many as asked for.
func TestSampleIsRepeatable(t *testing.T) {
	s, _ := running(t, Options{})
	for i := range 2000 {
		s.Access(request(fmt.Sprint("id-", i), time.Now()))
	}
	base := served(t, s)
	_, _, tenth := get(t, base+"/zones/all/logs/received?sample=0.1&fields=RayID&start=1h")
	_, _, again := get(t, base+"/zones/all/logs/received?sample=0.1&fields=RayID&start=1h&kind=request")
	if n := strings.Count(tenth, "\n"); n < 120 || n > 280 || tenth != again {
		t.Errorf("%d of 2000 records", n)
	}
}

// TestFieldsAreDocumented has docs/logs.md name every field, and each name once.
func TestFieldsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(b), "\n## Fields\n")
	list, _, _ = strings.Cut(list, "\nA refused handshake")
	documented := map[string]bool{}
	for _, name := range regexp.MustCompile(`[A-Z][A-Za-z0-9]+\b`).FindAllString(list, -1) {
		documented[name] = true
	}
	seen := map[string]bool{}
	for _, f := range Fields() {
		if !documented[f.Name] || seen[f.Name] || f.Doc == "" {
			t.Errorf("%s is not documented, or there twice", f.Name)
		}
		seen[f.Name] = true
	}
	for name := range documented {
		if !seen[name] && strings.ContainsAny(name[1:], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && name != "HTTP" {
			t.Errorf("%s is documented and does not exist", name)
		}
	}
}

func TestTimes(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for text, want := range map[string]string{
		"now": "2026-01-02T15:04:05Z", "10m": "2026-01-02T14:54:05Z", "-10m": "2026-01-02T14:54:05Z", "10m ago": "2026-01-02T14:54:05Z", "2d": "2025-12-31T15:04:05Z",
		"2021-09-08T16:00:00+09:00": "2021-09-08T07:00:00Z", "2021-09-08T16:00:00-03:30": "2021-09-08T19:30:00Z", "2021-09-08T16:00:00.5Z": "2021-09-08T16:00:00Z",
		"1631084400": "2021-09-08T07:00:00Z", "1631084400000": "2021-09-08T07:00:00Z", "1631084400000000000": "2021-09-08T07:00:00Z", "0": "1970-01-01T00:00:00Z",
		"": "", "tomorrow": "", "2021-09-08": "", "10": "1970-01-01T00:00:10Z", "-5": "", "1h-": "", "9999d9": "",
	} {
		got, err := ParseTime(text, now)
		if want == "" && err == nil || want != "" && (err != nil || got.UTC().Format(time.RFC3339) != want) {
			t.Errorf("%q: %v, %v; want %s", text, got, err, want)
		}
	}
}
