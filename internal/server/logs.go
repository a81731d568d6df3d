package server

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/logstore"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// LogStore says where records of requests and handshakes are kept.
type LogStore struct {
	Dir  string        // "": memory; "off": nowhere
	Size int64         // bytes; 0: the default of the place
	Age  time.Duration // 0: the default
}

// logs is the store of logs while the process runs. Without a store it has nothing to tell.
type logs struct {
	store *logstore.Store
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// openLogs opens the store and runs it until close.
func openLogs(cfg *Config) (*logs, error) {
	if cfg.LogStore.Dir == "off" {
		return &logs{}, nil
	}
	store, err := logstore.Open(logstore.Options{Dir: cfg.LogStore.Dir, Size: cfg.LogStore.Size, Age: cfg.LogStore.Age, Logger: cfg.Logger})
	if err != nil {
		return nil, &ConfigError{"the log store cannot be opened", err.Error(), "give a folder with --log-store that this process can write to and no other process uses, or --log-store off"}
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &logs{store: store, stop: stop}
	l.done.Go(func() {
		if err := store.Run(ctx); err != nil {
			cfg.Logger.Error("log store ended", "err", err)
		}
	})
	return l, nil
}

// close writes what waits. It is called when nothing records any more.
func (l *logs) close() {
	if l.store != nil {
		l.stop()
		l.done.Wait()
	}
}

// sink returns where records go, nil if they are not kept.
func (l *logs) sink() telemetry.Sink {
	if l.store == nil {
		return nil
	}
	return l.store
}

// archive returns where old records are found, nil if none are kept.
func (l *logs) archive() telemetry.Archive {
	if l.store == nil {
		return nil
	}
	return archive{l.store}
}

// watch exposes the store.
func (l *logs) watch(m *telemetry.Metrics) {
	if l.store == nil {
		return
	}
	m.WatchLogStore(func() telemetry.LogStoreState {
		s := l.store.State()
		return telemetry.LogStoreState{Bytes: float64(s.Bytes), Records: float64(s.Records), Dropped: float64(s.Dropped), Oldest: s.Oldest,
			Trouble: s.Trouble != nil}
	})
}

// trouble says why records are not kept, "" if they are.
func (l *logs) trouble() string {
	if l.store == nil {
		return ""
	}
	s := l.store.State()
	if s.Trouble == nil {
		return ""
	}
	return fmt.Sprintf("%s %s since %s, %d records dropped: %v", s.Trouble.Code, s.Trouble.Code.Slug(), s.Trouble.Since.UTC().Format(time.RFC3339), s.Dropped, s.Trouble.Err)
}

// endpoints serve Logpull's paths, also behind the prefix that Cloudflare's API has. Logs tell who visited
// what, so a TCP address gives them to operators only.
func (l *logs) endpoints() []admin.Endpoint {
	h := logstore.NewHandler(l.store)
	var out []admin.Endpoint
	for _, prefix := range []string{"", "/client/v4"} {
		for pattern, handler := range map[string]http.HandlerFunc{logstore.PathReceived: h.Received, logstore.PathFields: h.Fields, logstore.PathRay: h.Ray} {
			out = append(out, admin.Endpoint{Method: http.MethodGet, Pattern: prefix + pattern, Role: "operator", Handler: handler})
		}
	}
	return out
}

// archiveTimeout bounds the search for one request.
const archiveTimeout = 10 * time.Second

// archive finds records for "hakone explain".
type archive struct{ store *logstore.Store }

// Find implements telemetry.Archive.
func (a archive) Find(ctx context.Context, id string) ([]*telemetry.Access, []*telemetry.Handshake) {
	ctx, cancel := context.WithTimeout(ctx, archiveTimeout)
	defer cancel()
	requests, shakes, err := logstore.Story(ctx, a.store, id)
	if err != nil {
		return nil, nil
	}
	return requests, shakes
}

// Handshakes implements telemetry.Archive.
func (a archive) Handshakes(ctx context.Context, conn uint64) []*telemetry.Handshake {
	ctx, cancel := context.WithTimeout(ctx, archiveTimeout)
	defer cancel()
	found, err := logstore.FindConn(ctx, a.store, a.store.RunID(), conn)
	if err != nil {
		return nil
	}
	return found.Handshakes
}
