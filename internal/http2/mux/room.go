package mux

// Room returns how many bytes of bodies the peer takes now, all streams together, before it reads more.
func (c *Conn) Room() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sendWindow <= 0 {
		return 0
	}
	return int(c.sendWindow)
}
