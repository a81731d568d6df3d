package admin

import (
	"time"

	"github.com/hakone-gateway/hakone/internal/calendar"
)

// Calendar is what GET /certificates/calendar answers: everything that expires, the first to end first.
type Calendar struct {
	Time    time.Time        `json:"time"`
	Entries []calendar.Entry `json:"entries"`
	Unread  string           `json:"unread,omitempty"` // why the folders could not be compared with what serves
}
