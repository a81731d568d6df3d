package admin

import "github.com/hakone-gateway/hakone/internal/httpcache"

// CachePath is where stored answers are: GET for how the stores are doing; GET CachePath/ls?url=TEXT&limit=N for
// what they hold; POST to CachePath/purge removes a URL.
const CachePath = "/cache"

// CacheStats is how the stores are doing.
type CacheStats struct {
	Caches []httpcache.Stats `json:"caches"`
}

// CacheList is what the stores hold.
type CacheList struct {
	Caches []CacheItems `json:"caches"`
}

// CacheItems is what one store holds.
type CacheItems struct {
	Name  string           `json:"name"`
	Items []httpcache.Item `json:"items"`
}

// CachePurge asks to remove a URL, with all its variants, from every store.
type CachePurge struct {
	URL string `json:"url"`
}

// CachePurged is how many answers went.
type CachePurged struct {
	Answers int `json:"answers"`
}
