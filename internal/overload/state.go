package overload

import "github.com/hakone-gateway/hakone/internal/diag"

// sheddable is the number of codes that shedding has: HK4401 to HK4404.
const sheddable = int(diag.OverloadHandshakes-diag.OverloadMemory) + 1

// Shed counts something that was refused, closed or cut for a code of 44xx; others are not counted.
// Accept, Admit and handshakes count by themselves.
func (b *Bounds) Shed(code diag.Code) {
	if i := int(code) - int(diag.OverloadMemory); b != nil && i >= 0 && i < sheddable {
		b.shed[i].Add(1)
	}
}

// State is what metrics and status show.
type State struct {
	Resources []Resource
	Shed      map[diag.Code]uint64 // every code, also those that never occurred
}

// Resource is one of memory (bytes), connections and handshakes. A Bound of zero is none.
type Resource struct {
	Name  string
	Level Level
	Used  uint64
	Bound uint64
}

// State returns the levels of the last look and what is in use now.
func (b *Bounds) State() State {
	s := State{Shed: make(map[diag.Code]uint64, sheddable)}
	for i := range b.shed {
		s.Shed[diag.OverloadMemory+diag.Code(i)] = b.shed[i].Load()
	}
	b.look()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.meters {
		s.Resources = append(s.Resources, Resource{m.name, m.level, m.used, m.bound})
	}
	return s
}
