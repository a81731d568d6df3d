package upstream

import (
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// settingsOf are those of a destination's upstream.
func settingsOf(f *ir.Forward, key destinationKey, via *ir.Via) *ir.Upstream {
	s := f.Template
	s.Destination, s.Resolve, s.Via, s.Origins = key.host, nil, nil, nil
	scheme := "http"
	if key.tls {
		scheme = "https"
	}
	s.Name = f.Name + " " + scheme + "://" + hostname.WithPort(key.host, key.port)
	if via != nil {
		own := *via
		if own.Host == "" {
			own.Host = key.host
		}
		if own.Port == 0 {
			own.Port = key.port
		}
		s.Via = &own
		s.Name += " via " + key.via
	}
	switch {
	case !key.tls:
		s.TLS = nil
		if via != nil {
			s.Protocol = ir.UpstreamHTTP1 // which is what proxies read: see connectHTTP
		}
	case s.TLS == nil:
		s.TLS = &ir.UpstreamTLS{HostSNI: true}
	}
	if key.pin != "" {
		t := *s.TLS
		t.InsecureSkipVerify = true
		s.TLS = &t
		s.Name += " tolerating " + key.pin
	}
	return &s
}

// materialFor returns the TLS material of destinations like key, with no lock held.
func (d *Destinations) materialFor(f *ir.Forward, key destinationKey, like *ir.Upstream) TLS {
	k := materialKey{via: key.via, lax: key.pin != ""}
	d.mu.Lock()
	m, ok := d.materials[k]
	generation, make := d.generation, d.material
	d.mu.Unlock()
	if ok {
		return m
	}
	s := *like
	s.Name, s.Destination = f.Name+" destinations", ""
	if like.Via != nil {
		s.Name += " via " + key.via
		s.Via = &ir.Via{Proxies: like.Via.Proxies, Method: like.Via.Method}
	}
	if k.lax {
		s.Name += " tolerating"
	}
	m = make(&s)
	d.mu.Lock()
	defer d.mu.Unlock()
	if first, ok := d.materials[k]; ok {
		return first // all share it
	}
	if generation == d.generation {
		d.materials[k] = m
	}
	return m
}
