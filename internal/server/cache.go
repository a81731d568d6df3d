package server

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/httpcache"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

// cacheEndpoints serve what is stored of answers.
func (p *process) cacheEndpoints() []admin.Endpoint {
	return []admin.Endpoint{
		{Method: http.MethodGet, Pattern: admin.CachePath, Role: "viewer", Handler: func(w http.ResponseWriter, _ *http.Request) {
			out := admin.CacheStats{Caches: []httpcache.Stats{}}
			for _, c := range p.plane.Caches().All() {
				out.Caches = append(out.Caches, c.Stats())
			}
			answer(w, &out, nil)
		}},
		{Method: http.MethodGet, Pattern: admin.CachePath + "/ls", Role: "viewer", Handler: p.listCaches},
		{Method: http.MethodPost, Pattern: admin.CachePath + "/purge", Role: "operator", Handler: p.purgeCaches},
	}
}

// maxCacheItems bounds what one listing shows of a store.
const maxCacheItems = 10_000

func (p *process) listCaches(w http.ResponseWriter, r *http.Request) {
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil || limit < 1 || limit > maxCacheItems {
		limit = maxCacheItems
	}
	out := admin.CacheList{Caches: []admin.CacheItems{}}
	for _, c := range p.plane.Caches().All() {
		out.Caches = append(out.Caches, admin.CacheItems{Name: c.Name(), Items: c.List(r.URL.Query().Get("url"), limit, time.Now())})
	}
	answer(w, &out, nil)
}

func (p *process) purgeCaches(w http.ResponseWriter, r *http.Request) {
	var ask admin.CachePurge
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&ask); err != nil {
		answer(w, nil, &admin.Problem{Status: http.StatusBadRequest, Title: "the body is no request to purge: " + err.Error(), Fix: `send {"url": "https://www.example.com/page"}`})
		return
	}
	key, ok := httpcache.ParseKey(ask.URL, func(path []byte) ([]byte, bool) {
		normal, fault := semantics.CanonicalPath(string(path))
		return []byte(normal), fault == ""
	})
	if !ok {
		answer(w, nil, &admin.Problem{Status: http.StatusBadRequest, Title: "not an absolute URL: " + ask.URL, Fix: `name scheme, host and path, as in "https://www.example.com/page"`})
		return
	}
	var done admin.CachePurged
	for _, c := range p.plane.Caches().All() {
		done.Answers += c.Purge(key)
	}
	answer(w, &done, nil)
}
