package ca_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ca"
)

// helperVar makes this test binary issue certificates from the directory it names until it is killed.
const helperVar = "HAKONE_TEST_CA_HELPER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperVar); dir != "" {
		fmt.Println(helper(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// helper prints every serial number once the certificate is handed out, and now and then publishes a list
// and prints its number.
func helper(dir string) error {
	ctx := context.Background()
	a, err := ca.Open(ctx, ca.Dir(dir), "default", ca.Options{})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		out, _, err := a.Issue(ctx, ca.Request{Profile: ca.Client, Names: []string{"x.test"}, Key: ca.Ed25519})
		if err != nil {
			return err
		}
		fmt.Println("serial", out.Entry.Serial)
		if i%3 == 2 {
			if _, err := a.Revoke(ctx, "superseded", out.Entry.Serial); err != nil {
				return err
			}
			fmt.Println("revoked", out.Entry.Serial)
			l, err := a.CRL(ctx, "")
			if err != nil {
				return err
			}
			fmt.Println("number", l.Number)
		}
	}
}

// Fifty processes, two at a time, issue and revoke from one directory and are killed at any moment. What
// they printed is in the journal afterwards; serial numbers are unique, lists' numbers rise.
func TestKilledWhileIssuing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	create(t, ca.Dir(dir), ca.Setup{Key: ca.Ed25519}, ca.Options{})
	const kills = 50
	var mu sync.Mutex
	issued, revoked, last := map[string]int{}, map[string]bool{}, uint64(0)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range kills / 2 {
				for _, l := range runAndKill(t, dir) {
					word, value, _ := strings.Cut(l, " ")
					mu.Lock()
					switch word {
					case "serial":
						issued[value]++
					case "revoked":
						revoked[value] = true
					case "number":
						n, err := strconv.ParseUint(value, 10, 64)
						if err != nil {
							t.Error(err)
						}
						last = max(last, n)
					default:
						t.Errorf("the helper failed: %s", l)
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if len(issued) < kills/2 || len(revoked) == 0 {
		t.Fatalf("only %d issued and %d revoked: the test shows nothing", len(issued), len(revoked))
	}
	a, err := ca.Open(t.Context(), ca.Dir(dir), "default", ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.VerifyJournal(); err != nil {
		t.Error(err)
	}
	for serial, n := range issued {
		e, err := a.Find(serial)
		if err != nil || n != 1 {
			t.Errorf("%s: handed out %d times, %v", serial, n, err)
		}
		if revoked[serial] && e.RevokedAt == nil {
			t.Errorf("%s: its revocation is lost", serial)
		}
	}
	l, err := a.CRL(t.Context(), "")
	if err != nil || l.Number < last || l.Entries < len(revoked) {
		t.Errorf("list %+v, %v; number %d was published, %d revoked", l, err, last, len(revoked))
	}
	next, err := a.PublishCRL(t.Context(), "")
	if err != nil || next.Number <= l.Number {
		t.Errorf("%v after %d: %v", next, l.Number, err)
	}
	t.Logf("%d kills, %d certificates, list %d", kills, len(issued), l.Number)
}

// runAndKill returns the whole lines that a helper printed until it was killed.
func runAndKill(t *testing.T, dir string) []string {
	exe, err := os.Executable()
	if err != nil {
		t.Error(err)
		return nil
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), helperVar+"="+dir)
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	in := bufio.NewReader(pipe)
	first, err := in.ReadString('\n')
	// Killed within what three certificates and a list take; sometimes before anything.
	timer := time.AfterFunc(time.Duration(rand.Int64N(int64(30*time.Millisecond))), func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	var out []string
	for line := first; err == nil; line, err = in.ReadString('\n') {
		out = append(out, strings.TrimSuffix(line, "\n"))
	}
	if err != io.EOF {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	return out
}
