package upstream

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Place is where a client is, as far as a database knows.
type Place struct {
	Country   string // ISO 3166-1 alpha-2, upper case; "" if unknown
	Continent string // AF, AN, AS, EU, NA, OC, SA; "" if unknown
}

// geoEvery is how often the file of a Locator is looked at.
const geoEvery = 10 * time.Second

// Locator finds places in a file of MaxMind's format (.mmdb) with countries, such as GeoLite2-Country. The file
// is held in memory and read again when it has changed. Safe for concurrent use.
type Locator struct {
	path   string
	log    *slog.Logger
	reader atomic.Pointer[maxminddb.Reader]

	seen stamp // owned by Run
}

// stamp tells whether a file has changed.
type stamp struct {
	size int64
	at   time.Time
}

// NewLocator reads a file. The error says why it cannot be used.
func NewLocator(path string, log *slog.Logger) (*Locator, error) {
	l := &Locator{path: path, log: log}
	if _, err := l.load(); err != nil {
		return nil, err
	}
	return l, nil
}

// load reads the file if it has changed, and says whether it did.
func (l *Locator) load() (bool, error) {
	st, err := os.Stat(l.path)
	if err != nil {
		return false, fmt.Errorf("geoip database: %w", err)
	}
	now := stamp{st.Size(), st.ModTime()}
	if now == l.seen {
		return false, nil
	}
	l.seen = now // a broken file is complained about once
	b, err := os.ReadFile(l.path)
	if err != nil {
		return false, fmt.Errorf("geoip database: %w", err)
	}
	reader, err := maxminddb.OpenBytes(b)
	if err != nil {
		return false, fmt.Errorf("geoip database %q is not in MaxMind's format: %w", l.path, err)
	}
	if reader.Metadata.NodeCount == 0 {
		return false, fmt.Errorf("geoip database %q is empty", l.path)
	}
	l.reader.Store(reader)
	return true, nil
}

// Run reads the file again when it has changed, until ctx ends. One that cannot be used leaves the old one in
// place.
func (l *Locator) Run(ctx context.Context) error {
	t := time.NewTicker(geoEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		switch fresh, err := l.load(); {
		case err != nil:
			l.log.Warn("geoip database cannot be read again, the old one stays", "err", err)
		case fresh:
			l.log.Info("geoip database read again", "built", l.reader.Load().Metadata.BuildTime().UTC().Format(time.RFC3339))
		}
	}
}

// Locate returns the place of an address. What is not known is empty.
func (l *Locator) Locate(a netip.Addr) Place {
	var record struct {
		Country struct {
			ISOCode string `maxminddb:"iso_code"`
		} `maxminddb:"country"`
		Continent struct {
			Code string `maxminddb:"code"`
		} `maxminddb:"continent"`
	}
	if err := l.reader.Load().Lookup(a.Unmap()).Decode(&record); err != nil {
		return Place{}
	}
	return Place{Country: strings.ToUpper(record.Country.ISOCode), Continent: strings.ToUpper(record.Continent.Code)}
}
