package proxy

// HTTP2Stats are the HTTP/2 connections of a listener's clients and the streams on them.
type HTTP2Stats struct{ Connections, Streams int }

// HTTP2 counts the open HTTP/2 connections by listener. It looks at every connection: it is for whoever
// asks now and then.
func (p *Proxy) HTTP2() map[string]HTTP2Stats {
	out := map[string]HTTP2Stats{}
	p.watches.each(func(w *watch) {
		if c, ok := w.of.(*http2Conn); ok && !w.inner {
			name := c.d.Raw.Spec().Name
			n := out[name]
			out[name] = HTTP2Stats{n.Connections + 1, n.Streams + c.mux.Streams()}
		}
	})
	return out
}
