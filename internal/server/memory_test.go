package server

import "testing"

func TestHeadroomShrinksAsTheHeapGrows(t *testing.T) {
	last := smallPercent
	for live := uint64(0); live <= 64<<20; live += 1 << 20 {
		p := percent(live)
		if p > last || p < largePercent || p > smallPercent || p%10 != 0 {
			t.Errorf("%d MiB: %d after %d", live>>20, p, last)
		}
		last = p
	}
	if last != largePercent {
		t.Errorf("ends at %d", last)
	}
}
