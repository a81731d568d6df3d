package demo

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// logHandler renders the operations log as one short line for people per event. Before the demo is
// ready, and beside the script, only errors are shown.
type logHandler struct {
	shared *logShared
	attrs  []slog.Attr
}

// logShared is what handlers with different attributes have in common.
type logShared struct {
	out    io.Writer // for everything, once all is set
	errors io.Writer // until then
	color  bool
	where  string      // the address that serves, for people
	all    atomic.Bool // show more than errors

	mu     sync.Mutex      // guards causes
	causes map[string]bool // what was told with the object that it broke
}

func newLogHandler(out, errors io.Writer, color bool, where string) *logHandler {
	return &logHandler{shared: &logShared{out: out, errors: errors, color: color, where: where, causes: map[string]bool{}}}
}

// Enabled implements slog.Handler.
func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool {
	return l >= slog.LevelError || l >= slog.LevelInfo && h.shared.all.Load()
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.shared, slices.Concat(h.attrs, attrs)}
}

// WithGroup implements slog.Handler. Lines for people have no groups.
func (h *logHandler) WithGroup(string) slog.Handler { return h }

// Handle implements slog.Handler.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	values := map[string]string{}
	var keys []string
	note := func(a slog.Attr) bool {
		values[a.Key] = strings.Trim(a.Value.String(), "[]")
		keys = append(keys, a.Key)
		return true
	}
	for _, a := range h.attrs {
		note(a)
	}
	r.Attrs(note)
	mark, text := h.line(r, keys, values)
	if text == "" {
		return nil
	}
	if h.shared.color {
		mark = map[string]string{"✓": "\x1b[32m✓\x1b[0m", "!": "\x1b[33m!\x1b[0m"}[mark]
	}
	out := h.shared.errors
	if h.shared.all.Load() {
		out = h.shared.out
	}
	_, err := fmt.Fprintf(out, "%s %s %s\n", r.Time.Local().Format(time.TimeOnly), mark, visible(text))
	return err
}

// line returns the mark and the text of a record, no text for what people need not see.
func (h *logHandler) line(r slog.Record, keys []string, v map[string]string) (mark, text string) {
	object := strings.TrimSpace(v["kind"] + " " + strings.TrimPrefix(v["namespace"]+"/"+v["name"], "/"))
	switch r.Message {
	case "tls handshake refused", "tls handshakes refused again":
		return "", "" // shown with its own line
	case "applied":
		return "✓", fmt.Sprintf("reloaded: %s hosts on %s", v["hosts"], h.shared.where)
	case "hosts are served no longer":
		return "!", "served no longer: " + v["hosts"]
	case "hosts are new":
		return "✓", "new: " + v["hosts"]
	case "object is mended":
		return "✓", object + " is mended"
	case "secret is mended", "secret is there again", "secret is there, its hosts serve", "secret was rotated", "secret was deleted; its certificate serves new handshakes until the grace ends",
		"secret is gone, its hosts refuse handshakes":
		mark = "✓"
		if r.Level >= slog.LevelWarn {
			mark = "!"
		}
		return mark, strings.Replace(r.Message, "secret", "Secret "+v["secret"], 1)
	case "configuration can be read again":
		return "✓", r.Message
	case "object is broken, its last good version goes on serving":
		h.remember(v["cause"])
		return "!", place(v["at"]) + object + " is broken" + because(v["cause"]) + "; its last good version serves" + fix(v["fix"])
	case "secret is broken, its last good certificate goes on serving":
		return "!", "Secret " + v["secret"] + " is broken" + because(v["cause"]) + "; its last good certificate serves"
	}
	if r.Level < slog.LevelWarn || h.told(r.Message) {
		return "", ""
	}
	text = place(v["at"]) + r.Message
	if v["at"] == "" {
		text += rest(keys, v)
	}
	return "!", text + fix(v["fix"])
}

// remember notes a cause that was told, so that its diagnostic is not shown again.
func (h *logHandler) remember(cause string) {
	h.shared.mu.Lock()
	defer h.shared.mu.Unlock()
	if len(h.shared.causes) > 100 {
		clear(h.shared.causes)
	}
	h.shared.causes[cause] = true
}

// told reports whether a message was told as a cause, once.
func (h *logHandler) told(message string) bool {
	h.shared.mu.Lock()
	defer h.shared.mu.Unlock()
	told := h.shared.causes[message]
	delete(h.shared.causes, message)
	return told
}

// place is the file's own name with the line: the folder is the demo's.
func place(at string) string {
	if at == "" {
		return ""
	}
	return filepath.Base(at) + ": "
}

func because(cause string) string {
	if cause == "" {
		return ""
	}
	return ": " + strings.TrimSuffix(cause, ".")
}

func fix(text string) string {
	if text == "" {
		return ""
	}
	return " — fix: " + text
}

// rest lists the values of a line that has no form of its own.
func rest(keys []string, v map[string]string) string {
	var parts []string
	for _, k := range keys {
		if v[k] != "" && k != "fix" {
			parts = append(parts, k+" "+v[k])
		}
	}
	if parts == nil {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// visible takes away what a terminal would obey.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
