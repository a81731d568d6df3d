package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Line is a line of the access log: a request or a handshake.
type Line map[string]any

// S returns a text field, "" if there is none.
func (l Line) S(key string) string {
	s, _ := l[key].(string)
	return s
}

// N returns a number, 0 if there is none.
func (l Line) N(key string) float64 {
	n, _ := l[key].(float64)
	return n
}

// Is reports whether each key has the value that follows it.
func (l Line) Is(keysAndValues ...string) bool {
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		if l.S(keysAndValues[i]) != keysAndValues[i+1] {
			return false
		}
	}
	return true
}

// writer makes a function an io.Writer.
type writer func([]byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

// lines cuts what is written into lines.
type lines struct {
	add  func([]byte)
	rest []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return len(b), nil
		}
		l.add(l.rest[:i])
		l.rest = l.rest[i+1:]
	}
}

func (g *Gateway) addOut(text []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var l Line
	if err := json.Unmarshal(text, &l); err != nil {
		g.broken = append(g.broken, string(text))
		return
	}
	g.out = append(g.out, l)
	close(g.news)
	g.news = make(chan struct{})
}

func (g *Gateway) addErr(b []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err.Write(b)
	close(g.news)
	g.news = make(chan struct{})
}

// Stderr returns the operations log so far.
func (g *Gateway) Stderr() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err.String()
}

// Lines returns the access log so far.
func (g *Gateway) Lines() []Line {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Line(nil), g.out...)
}

// Mark is a place in the access log.
type Mark int

// Mark returns the present end of the access log.
func (g *Gateway) Mark() Mark {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Mark(len(g.out))
}

// AwaitLine waits for a line after from that has the values, as in Line.Is, and returns the first.
func (g *Gateway) AwaitLine(from Mark, keysAndValues ...string) Line {
	g.tb.Helper()
	return g.AwaitLineThat(from, fmt.Sprintf("with %q", keysAndValues), func(l Line) bool { return l.Is(keysAndValues...) })
}

// AwaitLineThat is AwaitLine for a line of which is says yes; what describes it.
func (g *Gateway) AwaitLineThat(from Mark, what string, is func(Line) bool) Line {
	g.tb.Helper()
	end := time.After(patience)
	for at := int(from); ; {
		g.mu.Lock()
		news := g.news
		more := g.out[at:]
		g.mu.Unlock()
		for _, l := range more {
			if is(l) {
				return l
			}
		}
		at += len(more)
		select {
		case <-news:
		case <-end:
			var seen []string
			for _, l := range g.Lines()[from:] {
				text, _ := json.Marshal(l)
				seen = append(seen, string(text))
			}
			g.tb.Fatalf("no line %s; lines since:\n%s", what, strings.Join(seen, "\n"))
		}
	}
}

// AwaitStderr waits until the operations log has a line with all words, and returns that line.
func (g *Gateway) AwaitStderr(words ...string) string {
	g.tb.Helper()
	end := time.After(patience)
	for {
		g.mu.Lock()
		news, text := g.news, g.err.String()
		g.mu.Unlock()
		for line := range strings.Lines(text) {
			if all(line, words) {
				return line
			}
		}
		select {
		case <-news:
		case <-end:
			g.tb.Fatalf("no line on stderr with %q", words)
		}
	}
}

func all(line string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(line, w) {
			return false
		}
	}
	return true
}

// Counter returns the sum of a metric's samples that have the labels, given as name="value".
func (g *Gateway) Counter(name string, labels ...string) float64 {
	g.tb.Helper()
	var sum float64
	for line := range strings.Lines(g.Get("/metrics")) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' || !all(rest, labels) {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(strings.TrimSpace(rest[strings.LastIndexAny(rest, "} ")+1:]), &v); err != nil {
			g.tb.Fatalf("metric line %q: %v", line, err)
		}
		sum += v
	}
	return sum
}
