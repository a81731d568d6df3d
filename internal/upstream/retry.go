package upstream

// BeginRetry counts a request that is about to be sent again as a retry in progress. It returns false, and
// counts the refusal, if Pool.MaxRetries of them are in progress; without that bound it counts nothing. It
// is answered by EndRetry.
func (u *Upstream) BeginRetry() bool {
	if u.pool.MaxRetries <= 0 {
		return true
	}
	if u.retries.Add(1) > int32(u.pool.MaxRetries) {
		u.retries.Add(-1)
		u.retryOverflows.Add(1)
		return false
	}
	return true
}

// EndRetry ends a retry that BeginRetry allowed.
func (u *Upstream) EndRetry() {
	if u.pool.MaxRetries > 0 {
		u.retries.Add(-1)
	}
}
