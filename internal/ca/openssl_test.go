package ca_test

import (
	"os/exec"
	"testing"
)

// openssl runs the command in dir and returns what it printed.
func openssl(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := opensslFails(dir, args...)
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
	return out
}

func opensslFails(dir string, args ...string) (string, error) {
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}
