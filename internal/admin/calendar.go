package admin

import (
	"fmt"
	"time"

	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/calendar"
)

// Calendar is what GET /certificates/calendar answers: everything that expires, the first to end first.
type Calendar struct {
	Time    time.Time        `json:"time"`
	Entries []calendar.Entry `json:"entries"`
	Unread  string           `json:"unread,omitempty"` // why the folders could not be compared with what serves
}

// AuthorityExpiries lists an authority's own certificates and the next updates of its lists, judged at
// now. Roots that have been replaced by another generation alarm nobody.
func AuthorityExpiries(info ca.Info, now time.Time) []calendar.Entry {
	object := fmt.Sprintf("authority %s in %s", info.Name, info.Store)
	var out []calendar.Entry
	for _, c := range info.CAs {
		if c.Certificate == nil || c.RevokedAt != nil || !c.Trusted && !c.Issuing && now.After(c.NotAfter) {
			continue
		}
		e := calendar.OfCertificate(calendar.Authority, object, c.Certificate, now)
		e.Hosts = []string{c.ID}
		e.Covered = info.Rotation.Stage != "steady" && !c.Issuing
		out = append(out, e)
		if c.List == nil {
			continue
		}
		l := calendar.Entry{Kind: calendar.List, Object: object, Name: c.Subject, Hosts: []string{c.ID}, NotBefore: c.List.ThisUpdate, NotAfter: c.List.NextUpdate}
		l.Renews = true
		l.Judge(now)
		l.Covered = info.URL == "" // nobody fetches it; it is made anew when somebody asks
		out = append(out, l)
	}
	return out
}
