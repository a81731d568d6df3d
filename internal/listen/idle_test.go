package listen

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestIdleRecords spends the account with records that carry nothing, in a row and between others, and
// earns it back with time.
func TestIdleRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Conn{}
		// records reads so many idle records and then one that carries something.
		records := func(idle int) error {
			for range idle + 1 {
				if err := c.idle.check(c.frame.seen); err != nil {
					return err
				}
				c.frame.seen++
			}
			c.Delivered()
			return nil
		}
		c.GuardRecords(IdleRecords{Burst: 10, Rate: 2})
		for range 1000 {
			if err := records(0); err != nil {
				t.Fatal("useful records: ", err)
			}
		}
		for i := range 10 {
			if err := records(1); err != nil {
				t.Fatalf("idle record %d: %v", i, err)
			}
		}
		if err := records(2); !errors.Is(err, ErrIdleRecords) {
			t.Errorf("beyond the burst: %v", err)
		}
		c.GuardRecords(IdleRecords{Burst: 10, Rate: 2})
		if err := records(12); !errors.Is(err, ErrIdleRecords) {
			t.Errorf("in a row: %v", err)
		}
		c.GuardRecords(IdleRecords{Burst: 10, Rate: 2})
		for i := range 100 {
			time.Sleep(time.Second)
			if err := records(2); err != nil {
				t.Fatalf("second %d: %v", i, err)
			}
		}
		c.GuardRecords(IdleRecords{Burst: 10, Rate: 2, Lenient: 1})
		for i := range 100 {
			if err := records(1); err != nil {
				t.Fatalf("empty fragment %d: %v", i, err)
			}
		}
		unguarded := &Conn{}
		unguarded.frame.seen = 1 << 20
		if err := unguarded.idle.check(unguarded.frame.seen); err != nil {
			t.Error(err)
		}
	})
}
